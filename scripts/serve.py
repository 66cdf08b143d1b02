"""Serves avatars over gRPC, speaking TensorFlow Serving's API.

    python -m scripts.serve --models=avatars --port=8500
    python -m scripts.serve --models=avatars --write_config_only
    python -m scripts.serve --models=avatars --write_config_only --server=HOST:PORT --promote=all
    python -m scripts.serve --models=avatars --write_config_only --server=HOST:PORT --pin=eileen=3
    python -m scripts.serve --models=avatars --write_config_only --server=HOST:PORT --retire=anna=4

`--models` serves all avatars in the folder and watches it for changes. The other serving flags,
among them `--model_config_file` and `--model_base_path`, have the names and meaning that they have
in tensorflow_model_server. `--write_config_only` writes `<models>/models.config` for TensorFlow
Serving and exits; with `--server` it also moves version labels, once the servers have loaded the
versions that the labels will point at.
"""

import dataclasses
import signal
import threading

from absl import flags, logging

from scripts import command, tls_flags
from serving.options import ServerOptions
from tf_talkinghead.errors import InputError

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(tls_flags)  # --help lists them
_ONLY_WRITING = ("server", "promote", "pin", "retire", "served_from")
_DEFAULTS = ServerOptions()

flags.DEFINE_string(
    "models",
    _DEFAULTS.models,
    "Folder of <person>/<version>/; all models in it are served, and it is watched for changes.",
)
flags.DEFINE_integer("port", _DEFAULTS.port, "gRPC port; 0 picks a free one.")
flags.DEFINE_integer(
    "rest_api_port",
    _DEFAULTS.rest_api_port,
    "REST port for metrics and model status; 0 disables it.",
)
flags.DEFINE_string(
    "host", _DEFAULTS.host, "Address to listen on; 0.0.0.0 accepts calls from other machines."
)
flags.DEFINE_string("model_name", _DEFAULTS.model_name, "Name of the model at --model_base_path.")
flags.DEFINE_string("model_base_path", _DEFAULTS.model_base_path, "Folder of one model's versions.")
flags.DEFINE_string("model_config_file", _DEFAULTS.model_config_file, "ModelServerConfig as text.")
flags.DEFINE_float(
    "model_config_file_poll_wait_seconds",
    _DEFAULTS.model_config_file_poll_wait_seconds,
    "Seconds between checks of --model_config_file for changes; 0 reads it once.",
)
flags.DEFINE_float(
    "file_system_poll_wait_seconds",
    _DEFAULTS.file_system_poll_wait_seconds,
    "Seconds between checks of the model folders for new versions; 0 reads them once.",
)
flags.DEFINE_boolean(
    "enable_batching", None, "Batch requests of different callers; default: on with --models."
)
flags.DEFINE_boolean(
    "enable_per_model_batching_parameters",
    None,
    "Use each version's batching_params.pbtxt; default: on with --models.",
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
    "grpc_max_threads",
    _DEFAULTS.grpc_max_threads,
    "Maximum number of concurrent calls; 0 for four per core.",
)
flags.DEFINE_string(
    "grpc_channel_arguments", _DEFAULTS.grpc_channel_arguments, "gRPC options as name=value,..."
)
flags.DEFINE_boolean(
    "allow_version_labels_for_unavailable_models",
    _DEFAULTS.allow_version_labels_for_unavailable_models,
    "Allow new labels to point at versions that are not loaded yet.",
)
flags.DEFINE_float(
    "drain_seconds", 30.0, "Seconds that calls in progress may take to finish after SIGTERM."
)
flags.DEFINE_list(
    "weights",
    ["guided", "demo"],
    "With --models: the weights in use, by name or run directory. Avatars made with other weights "
    "are listed; --weights= lists none.",
)
flags.DEFINE_boolean("write_config_only", False, "Write <models>/models.config and exit.")
flags.DEFINE_list(
    "server",
    [],
    "With --write_config_only: HOST:PORT of every server that reads the file; labels move once "
    "all servers have loaded the versions.",
)
flags.DEFINE_float(
    "wait_seconds", 120.0, "With --server: timeout for loading, moving labels and unloading."
)
flags.DEFINE_list(
    "promote",
    [],
    "With --write_config_only: names whose stable label moves to the newest version, or all.",
)
flags.DEFINE_list(
    "pin",
    [],
    "With --write_config_only: NAME=VERSION to move the stable label to, for a rollback.",
)
flags.DEFINE_list(
    "retire",
    [],
    "With --server: NAME=VERSION to retire: its labels move away, then it is unloaded and removed.",
)
flags.DEFINE_string(
    "served_from",
    "",
    "With --write_config_only: path of the models folder inside the server's container.",
)


def main(argv):
    command.no_arguments(argv)
    if FLAGS.write_config_only:
        if not FLAGS.models:
            raise InputError("--write_config_only needs --models")
        _write_config()
        return
    given = [name for name in _ONLY_WRITING if FLAGS[name].value]
    if given:
        raise InputError(f"--{given[0]} needs --write_config_only")
    if not FLAGS["verbosity"].present:
        # Show which versions are loaded and unloaded.
        logging.set_verbosity(logging.INFO)
    command.load("tensorflow")
    import tensorflow as tf

    from serving.server import AvatarServer

    tf.get_logger().setLevel("ERROR")  # hides a message per restored variable
    options = {field.name: FLAGS[field.name].value for field in dataclasses.fields(ServerOptions)}
    server = AvatarServer(ServerOptions(**options))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    current = _current_weights()
    server.start()
    host = "localhost" if FLAGS.host in ("0.0.0.0", "[::]") else FLAGS.host
    print(f"listening on {host}:{server.port}", flush=True)
    _list_outdated(current)
    stop.wait()
    server.stop(FLAGS.drain_seconds)


def _current_weights():
    """The SHA-256 of each of --weights, as a set, empty without --models."""
    from tf_talkinghead.weights.identity import weights_sha256

    return {weights_sha256(source) for source in FLAGS.weights} if FLAGS.models else set()


def _list_outdated(current):
    """Prints which avatars in --models were made with weights that are not in `current`."""
    if not current:
        return
    from tf_talkinghead.export.outdated import outdated, sentence

    if found := outdated(FLAGS.models, current):
        print(sentence(found, ",".join(FLAGS.weights), FLAGS.models), flush=True)


def _write_config():
    """Writes models.config and, with --server, rolls it out on the servers."""
    pin, retire, current = _versions("pin"), _versions("retire"), _current_weights()
    command.load("tensorflow")
    from serving import models_config, rollout

    if FLAGS.server:
        left = rollout.roll_out(
            FLAGS.models,
            FLAGS.server,
            FLAGS.promote,
            pin,
            retire,
            FLAGS.served_from,
            FLAGS.wait_seconds,
            tls_flags.tls(),
        )
        print(f"wrote {models_config.path_in(FLAGS.models)}")
        _list_outdated(current)
        if left:
            raise InputError(f"{'; '.join(left)}. Run the same command again to continue")
        return
    if retire:
        raise InputError("--retire needs --server, to confirm that no server uses the version")
    path, config, waiting = models_config.update(
        FLAGS.models, FLAGS.promote, pin, FLAGS.served_from
    )
    print(f"wrote {path}: {len(config.model_config_list.config)} models")
    for name, label, version in waiting:
        print(
            f"{name}: {label} does not move to version {version} yet: a label may only move to a "
            "loaded version. The same command with --server=HOST:PORT waits for it and moves the "
            "label"
        )
    _list_outdated(current)


def _versions(flag):
    """Parses the NAME=VERSION values of a flag as {name: version}."""
    versions = {}
    for text in FLAGS[flag].value:
        name, _, version = text.partition("=")
        if not version.isdecimal():
            raise InputError(f"--{flag}={text}: expected NAME=VERSION, such as ann=3")
        versions[name] = int(version)
    return versions


if __name__ == "__main__":
    command.run(main)
