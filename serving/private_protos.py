"""Message classes of public protocols, built at run time in a descriptor pool of their own.

A protocol's messages are given as their public field names and numbers. Because the pool and the
package are private, they stand beside the generated classes of TensorFlow or
`tensorflow-serving-api` in one process, and need neither: the wire format carries numbers, no
names.

    PACKAGE = "tf_talkinghead.example"
    classes = build("example.proto", PACKAGE, {"Point": (("x", 1, FIELD.TYPE_FLOAT, False),)})
    classes["Point"](x=1.0).SerializeToString()
"""

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    wrappers_pb2,
)

FIELD = descriptor_pb2.FieldDescriptorProto
INT64_VALUE, BOOL_VALUE, STRING_VALUE = (
    f".google.protobuf.{kind}Value" for kind in ("Int64", "Bool", "String")
)


def build(file_name, package, messages):
    """The message classes of a proto3 file.

    Args:
      file_name: the file's name in the private pool.
      package: its package, of our own.
      messages: message -> fields as (name, number, kind, repeated). A kind is a `FIELD.TYPE_...`,
        the full name of a message beginning with ".", or ("map", such a name) for a map from
        string.

    Returns:
      {message: class}.
    """
    file = descriptor_pb2.FileDescriptorProto(name=file_name, package=package, syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    for message_name, fields in messages.items():
        message = file.message_type.add(name=message_name)
        for name, number, kind, repeated in fields:
            if isinstance(kind, tuple):
                kind, repeated = _map_entry(message, name, package, kind[1]), True
            _add(message, name, number, kind, repeated)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
        for name in messages
    }


def _add(message, name, number, kind, repeated):
    field = message.field.add(name=name, number=number)
    field.label = FIELD.LABEL_REPEATED if repeated else FIELD.LABEL_OPTIONAL
    if isinstance(kind, str):
        field.type, field.type_name = FIELD.TYPE_MESSAGE, kind
    else:
        field.type = kind


def _map_entry(message, field_name, package, value):
    """Adds the entry type that protobuf needs for a map field; returns its full name."""
    entry = message.nested_type.add(name=f"{field_name.capitalize()}Entry")
    entry.options.map_entry = True
    _add(entry, "key", 1, FIELD.TYPE_STRING, False)
    _add(entry, "value", 2, value, False)
    return f".{package}.{message.name}.{entry.name}"
