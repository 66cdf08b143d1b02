"""Conversion between numpy arrays and TensorFlow's TensorProto, without TensorFlow.

A tensor's values are stored either in a field of their type (`float_val`, `string_val`, ...) or
packed in `tensor_content`. Both forms are read, since servers send both (`tensorflow_model_server
--enable_serialization_as_tensor_content` the second).
"""

import math

import numpy as np

from serving.predict_protos import TensorProto
from tf_talkinghead.errors import InputError

# Largest number of values of a tensor that lists only some: a few bytes could claim much memory.
MOST_FILLED = 1 << 24
_STRING = 7  # TensorFlow's DataType DT_STRING
# DataType -> (numpy's dtype, the field of single values)
_NUMBERS = {
    1: ("float32", "float_val"),
    2: ("float64", "double_val"),
    3: ("int32", "int_val"),
    4: ("uint8", "int_val"),
    5: ("int16", "int_val"),
    6: ("int8", "int_val"),
    9: ("int64", "int64_val"),
    10: ("bool", "bool_val"),
    17: ("uint16", "int_val"),
    19: ("float16", "half_val"),
    22: ("uint32", "uint32_val"),
    23: ("uint64", "uint64_val"),
}
_DATA_TYPES = {dtype: number for number, (dtype, _) in _NUMBERS.items()}


def to_proto(array):
    """Converts an array of numbers or bytes objects, of any shape, to a TensorProto.

    Raises:
      InputError: an unsupported dtype, for example a complex one.
    """
    array = np.asarray(array)
    proto = TensorProto()
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if array.dtype.kind in "OSU":
        proto.dtype = _STRING
        proto.string_val.extend(
            value.encode() if isinstance(value, str) else bytes(value) for value in array.flat
        )
    elif array.dtype.name in _DATA_TYPES:
        proto.dtype = _DATA_TYPES[array.dtype.name]
        proto.tensor_content = array.astype(array.dtype.newbyteorder("<")).tobytes()
    else:
        raise InputError(
            f"a tensor of {array.dtype}: expected bytes or one of {', '.join(_DATA_TYPES)}"
        )
    return proto


def to_array(proto):
    """Converts a TensorProto (this project's class or TensorFlow's) to an array.

    Strings become bytes objects.

    Raises:
      InputError: an unknown dtype, or a content that does not fit the shape.
    """
    shape = [dim.size for dim in proto.tensor_shape.dim]
    try:
        return _parsed(proto, shape)
    except (OverflowError, ValueError) as error:
        raise InputError(f"a tensor of shape {shape}: {error}") from error


def _parsed(proto, shape):
    if min(shape, default=0) < 0 or proto.tensor_shape.unknown_rank:
        raise InputError(f"a tensor of unknown shape {shape}")
    count = math.prod(shape)
    if proto.dtype == _STRING:
        values = _packed_strings(proto.tensor_content, count) or proto.string_val
        return _filled(np.array(list(values), object), count, b"").reshape(shape)
    if proto.dtype not in _NUMBERS:
        raise InputError(f"a tensor of TensorFlow's type {proto.dtype}, which is not known here")
    dtype, field = _NUMBERS[proto.dtype]
    if proto.tensor_content:
        little = np.dtype(dtype).newbyteorder("<")
        if len(proto.tensor_content) != count * little.itemsize:
            raise InputError(
                f"a tensor of {dtype} {shape}: expected {count * little.itemsize} bytes, "
                f"got {len(proto.tensor_content)}"
            )
        return np.frombuffer(proto.tensor_content, little).astype(dtype).reshape(shape)
    if field == "half_val":  # the bits of each number, as an integer
        values = np.array(proto.half_val, np.uint16).view(np.float16)
    else:
        values = np.array(getattr(proto, field), dtype)
    return _filled(values, count, 0).reshape(shape)


def _filled(values, count, default):
    """`count` values, the last one repeated: TensorFlow leaves out equal values at the end."""
    if len(values) > count:
        raise InputError(f"a tensor of {count} values: got {len(values)}")
    if len(values) < count and count > MOST_FILLED:
        raise InputError(f"a tensor of {count} values: got {len(values)}")
    last = values[-1] if len(values) else default
    filled = np.full(count, last, values.dtype)
    filled[: len(values)] = values
    return filled


def _packed_strings(content, count):
    """The `count` strings of TensorFlow's packed form: all lengths as varints, then all bytes."""
    if not content:
        return []
    lengths, position = [], 0
    for _ in range(count):
        length, position = _varint(content, position)
        lengths.append(length)
    if position + sum(lengths) != len(content):
        raise InputError(
            f"a tensor of {count} strings: expected {position + sum(lengths)} bytes, "
            f"got {len(content)}"
        )
    strings = []
    for length in lengths:
        strings.append(content[position : position + length])
        position += length
    return strings


def _varint(content, position):
    """(value, next position) of the base-128 integer at `position`, low bits first."""
    value = 0
    for index, byte in enumerate(content[position : position + 10]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    raise InputError("a tensor of strings: a length is cut off")
