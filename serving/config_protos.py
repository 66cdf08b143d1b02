"""TensorFlow Serving's text-file messages that the public stubs package lacks: batching, TLS, monitoring.

The package `tensorflow-serving-api` has the protos of the gRPC services and of the model config file, but not those
of `--batching_parameters_file`, `--ssl_config_file` and `--monitoring_config_file`. Their public field names and
numbers stand below, the messages are built from them at run time, and text files written for TensorFlow Serving
parse here:

    batching = parse_file("batching.config", BatchingParameters)
    batching.max_batch_size.value
"""

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)

from tf_talkinghead.errors import InputError

_FIELD = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "tf_talkinghead.serving"  # a package of our own: the public names could be registered by somebody else
_INT64, _BOOL, _STRING = (f".google.protobuf.{kind}Value" for kind in ("Int64", "Bool", "String"))

# message -> fields as (name, number, type, repeated); a type beginning with "." is a message
_MESSAGES = {
    "BatchingParameters": (
        ("max_batch_size", 1, _INT64, False),
        ("batch_timeout_micros", 2, _INT64, False),
        ("max_enqueued_batches", 3, _INT64, False),
        ("num_batch_threads", 4, _INT64, False),
        ("thread_pool_name", 5, _STRING, False),
        ("allowed_batch_sizes", 6, _FIELD.TYPE_INT64, True),
        ("pad_variable_length_inputs", 7, _FIELD.TYPE_BOOL, False),
        ("enable_large_batch_splitting", 8, _BOOL, False),
        ("max_execution_batch_size", 9, _INT64, False),
    ),
    "SSLConfig": (
        ("server_key", 1, _FIELD.TYPE_STRING, False),
        ("server_cert", 2, _FIELD.TYPE_STRING, False),
        ("custom_ca", 3, _FIELD.TYPE_STRING, False),
        ("client_verify", 4, _FIELD.TYPE_BOOL, False),
    ),
    "PrometheusConfig": (
        ("enable", 1, _FIELD.TYPE_BOOL, False),
        ("path", 2, _FIELD.TYPE_STRING, False),
    ),
    "MonitoringConfig": (("prometheus_config", 1, f".{_PACKAGE}.PrometheusConfig", False),),
}


def _build_messages():
    """The message classes of `_MESSAGES`, by name, in a descriptor pool of their own."""
    file = descriptor_pb2.FileDescriptorProto(
        name="tf_talkinghead/serving/config.proto", package=_PACKAGE, syntax="proto3"
    )
    file.dependency.append("google/protobuf/wrappers.proto")
    for message_name, fields in _MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for name, number, kind, repeated in fields:
            field = message.field.add(name=name, number=number)
            field.label = _FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
            if isinstance(kind, str):
                field.type, field.type_name = _FIELD.TYPE_MESSAGE, kind
            else:
                field.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    find = pool.FindMessageTypeByName
    return {name: message_factory.GetMessageClass(find(f"{_PACKAGE}.{name}")) for name in _MESSAGES}


_CLASSES = _build_messages()
BatchingParameters = _CLASSES["BatchingParameters"]
SSLConfig = _CLASSES["SSLConfig"]
PrometheusConfig = _CLASSES["PrometheusConfig"]
MonitoringConfig = _CLASSES["MonitoringConfig"]


def parse_file(path, message_class):
    """The text proto at `path` as a `message_class`; InputError names the file and the line that does not parse."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    try:
        return text_format.Parse(text, message_class())
    except text_format.ParseError as error:
        raise InputError(f"{path}: not a text {message_class.DESCRIPTOR.name}: {error}") from error
