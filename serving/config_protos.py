"""Messages of TensorFlow Serving's text files for batching, TLS and monitoring.

The package `tensorflow-serving-api` has the protos of the gRPC services and of the model config
file, but not those of `--batching_parameters_file`, `--ssl_config_file` and
`--monitoring_config_file`. The messages are built at run time from their public field names and
numbers below, so that text files written for TensorFlow Serving can be parsed:

    batching = parse_file("batching.config", BatchingParameters)
    batching.max_batch_size.value
"""

from google.protobuf import text_format

from serving.private_protos import BOOL_VALUE, FIELD, INT64_VALUE, STRING_VALUE, build
from tf_talkinghead.errors import InputError

_PACKAGE = "tf_talkinghead.serving"

_MESSAGES = {
    "BatchingParameters": (
        ("max_batch_size", 1, INT64_VALUE, False),
        ("batch_timeout_micros", 2, INT64_VALUE, False),
        ("max_enqueued_batches", 3, INT64_VALUE, False),
        ("num_batch_threads", 4, INT64_VALUE, False),
        ("thread_pool_name", 5, STRING_VALUE, False),
        ("allowed_batch_sizes", 6, FIELD.TYPE_INT64, True),
        ("pad_variable_length_inputs", 7, FIELD.TYPE_BOOL, False),
        ("enable_large_batch_splitting", 8, BOOL_VALUE, False),
        ("max_execution_batch_size", 9, INT64_VALUE, False),
    ),
    "SSLConfig": (
        ("server_key", 1, FIELD.TYPE_STRING, False),
        ("server_cert", 2, FIELD.TYPE_STRING, False),
        ("custom_ca", 3, FIELD.TYPE_STRING, False),
        ("client_verify", 4, FIELD.TYPE_BOOL, False),
    ),
    "PrometheusConfig": (
        ("enable", 1, FIELD.TYPE_BOOL, False),
        ("path", 2, FIELD.TYPE_STRING, False),
    ),
    "MonitoringConfig": (("prometheus_config", 1, f".{_PACKAGE}.PrometheusConfig", False),),
}

_CLASSES = build("tf_talkinghead/serving/config.proto", _PACKAGE, _MESSAGES)
BatchingParameters = _CLASSES["BatchingParameters"]
SSLConfig = _CLASSES["SSLConfig"]
PrometheusConfig = _CLASSES["PrometheusConfig"]
MonitoringConfig = _CLASSES["MonitoringConfig"]


def parse_file(path, message_class):
    """Parses the text proto at `path` as a `message_class`.

    Raises:
      InputError: the file cannot be read or parsed; the message names the file and the line.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    try:
        return text_format.Parse(text, message_class())
    except text_format.ParseError as error:
        raise InputError(f"{path}: not a text {message_class.DESCRIPTOR.name}: {error}") from error
