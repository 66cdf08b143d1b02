"""Serves avatars over gRPC, speaking TensorFlow Serving's API.

    python -m scripts.serve --models=avatars --port=8500
    python -m scripts.serve --models=avatars --write_config_only --promote=all
    python -m scripts.serve --models=avatars --write_config_only --pin=eileen=3

`--models` serves everyone in the folder and watches it; `--model_config_file` and `--model_base_path` do what they do
in tensorflow_model_server, whose flag names these are. `--write_config_only` writes `<models>/models.config` for
TensorFlow Serving and ends.
"""

import dataclasses
import signal
import threading

from absl import flags, logging

from scripts import command
from serving.options import ServerOptions
from tf_talkinghead.errors import InputError

FLAGS = flags.FLAGS
_DEFAULTS = ServerOptions()

flags.DEFINE_string(
    "models",
    _DEFAULTS.models,
    "Folder of <person>/<version>/; everyone in it is served and watched.",
)
flags.DEFINE_integer("port", _DEFAULTS.port, "gRPC port; 0 picks a free one.")
flags.DEFINE_integer(
    "rest_api_port", _DEFAULTS.rest_api_port, "Port for metrics and model status; 0 for none."
)
flags.DEFINE_string("host", _DEFAULTS.host, "Address to listen on.")
flags.DEFINE_string("model_name", _DEFAULTS.model_name, "Name of the model at --model_base_path.")
flags.DEFINE_string("model_base_path", _DEFAULTS.model_base_path, "Folder of one model's versions.")
flags.DEFINE_string("model_config_file", _DEFAULTS.model_config_file, "ModelServerConfig as text.")
flags.DEFINE_float(
    "model_config_file_poll_wait_seconds",
    _DEFAULTS.model_config_file_poll_wait_seconds,
    "Seconds between two looks at --model_config_file; 0 reads it once.",
)
flags.DEFINE_float(
    "file_system_poll_wait_seconds",
    _DEFAULTS.file_system_poll_wait_seconds,
    "Seconds between two looks for new versions; 0 looks once.",
)
flags.DEFINE_boolean(
    "enable_batching", None, "Batch requests of different callers; on with --models."
)
flags.DEFINE_boolean(
    "enable_per_model_batching_parameters",
    None,
    "Use each version's batching_params.pbtxt; on with --models.",
)
flags.DEFINE_string(
    "batching_parameters_file", _DEFAULTS.batching_parameters_file, "BatchingParameters as text."
)
flags.DEFINE_string(
    "ssl_config_file",
    _DEFAULTS.ssl_config_file,
    "SSLConfig as text: PEM key, certificate, authority.",
)
flags.DEFINE_string(
    "monitoring_config_file", _DEFAULTS.monitoring_config_file, "MonitoringConfig as text."
)
flags.DEFINE_integer(
    "grpc_max_threads", _DEFAULTS.grpc_max_threads, "Calls under way at once; 0 for four a core."
)
flags.DEFINE_string(
    "grpc_channel_arguments", _DEFAULTS.grpc_channel_arguments, "gRPC options as name=value,..."
)
flags.DEFINE_boolean(
    "allow_version_labels_for_unavailable_models",
    _DEFAULTS.allow_version_labels_for_unavailable_models,
    "Let new labels point at versions that are not loaded yet.",
)
flags.DEFINE_float("drain_seconds", 30.0, "On SIGTERM: how long calls under way may take to end.")
flags.DEFINE_boolean("write_config_only", False, "Write <models>/models.config and end.")
flags.DEFINE_list(
    "promote",
    [],
    "With --write_config_only: whose stable label moves to the newest version, or all.",
)
flags.DEFINE_list(
    "pin",
    [],
    "With --write_config_only: NAME=VERSION, where the stable label goes; for a rollback.",
)
flags.DEFINE_string(
    "served_from",
    "",
    "With --write_config_only: the models folder as the server's container sees it.",
)


def main(argv):
    command.no_arguments(argv)
    if FLAGS.write_config_only:
        if not FLAGS.models:
            raise InputError("--write_config_only needs --models")
        return _write_config()
    if FLAGS.promote or FLAGS.pin or FLAGS.served_from:
        raise InputError("--promote, --pin and --served_from need --write_config_only")
    if not FLAGS["verbosity"].present:
        logging.set_verbosity(
            logging.INFO
        )  # which versions come and go is what its operator wants to see
    command.load("tensorflow")
    import tensorflow as tf

    from serving.server import AvatarServer

    tf.get_logger().setLevel("ERROR")  # a line for every restored variable is no news
    options = {field.name: FLAGS[field.name].value for field in dataclasses.fields(ServerOptions)}
    server = AvatarServer(ServerOptions(**options))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    server.start()
    host = "localhost" if FLAGS.host in ("0.0.0.0", "[::]") else FLAGS.host
    print(f"listening on {host}:{server.port}", flush=True)
    stop.wait()
    server.stop(FLAGS.drain_seconds)


def _write_config():
    """Writes models.config and says what has to wait until the server has loaded it."""
    command.load("tensorflow")
    from serving import models_config

    pin = {}
    for text in FLAGS.pin:
        name, _, version = text.partition("=")
        if not version.isdecimal():
            raise InputError(f"--pin={text}: expected NAME=VERSION")
        pin[name] = int(version)
    path, config, waiting = models_config.update(
        FLAGS.models, FLAGS.promote, pin, FLAGS.served_from
    )
    print(f"wrote {path}: {len(config.model_config_list.config)} models")
    for name, label, version in waiting:
        print(
            f"{name}: {label} can move once version {version} is loaded; run the same command again then"
        )


if __name__ == "__main__":
    command.run(main)
