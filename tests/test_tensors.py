"""Tensors and messages of the client's own classes, against TensorFlow's own encoder and
decoder.
"""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import predict_pb2

from serving import tensors
from serving.predict_protos import PredictRequest, PredictResponse, TensorProto
from tf_talkinghead.errors import InputError

# numpy's dtype -> the field of TensorProto that holds its values one by one
FIELDS = {
    "float16": "half_val",
    "float32": "float_val",
    "float64": "double_val",
    "uint8": "int_val",
    "int8": "int_val",
    "int16": "int_val",
    "uint16": "int_val",
    "int32": "int_val",
    "uint32": "uint32_val",
    "int64": "int64_val",
    "uint64": "uint64_val",
    "bool": "bool_val",
}
STRINGS = np.array([[b"", b"\xff\xd8"], [b"a" * 300, b"\x00b"]], object)


def numbers(dtype):
    """[2, 3] of a dtype, its smallest and largest values among them."""
    if dtype == "bool":
        return np.array([[True, False, True], [False, False, True]])
    limits = np.finfo(dtype) if np.dtype(dtype).kind == "f" else np.iinfo(dtype)
    return np.array([[0, 1, 2], [limits.min, limits.max, 100]], dtype)


def packed(strings):
    """TensorFlow's packed strings: every length as a varint, then every string."""
    content = b""
    for string in strings:
        length = len(string)
        while length > 127:
            content += bytes([length & 127 | 128])
            length >>= 7
        content += bytes([length])
    return content + b"".join(strings)


def sized(*sizes, **fields):
    """A TensorProto of a shape that may be absurd."""
    proto = TensorProto(**fields)
    for size in sizes:
        proto.tensor_shape.dim.add(size=size)
    return proto


def shaped(array, **fields):
    """A TensorProto of the client's class with an array's shape and these fields."""
    proto = TensorProto(**fields)
    for size in np.shape(array):
        proto.tensor_shape.dim.add(size=size)
    return proto


def same(left, right):
    return left.dtype == right.dtype and left.shape == right.shape and (left == right).all()


@pytest.mark.parametrize("dtype", FIELDS)
def test_numbers_sent_are_read_by_tensorflow(dtype):
    for array in (numbers(dtype), numbers(dtype)[0, 1], np.zeros([0, 4], dtype)):
        generated = tensor_pb2.TensorProto.FromString(tensors.to_proto(array).SerializeToString())
        assert same(tf.make_ndarray(generated), array)
        assert same(tensors.to_array(generated), array)


@pytest.mark.parametrize("dtype", FIELDS)
def test_numbers_in_their_own_field_are_read(dtype):
    """As tensorflow_model_server sends them by default; TensorFlow reads the same message."""
    array = numbers(dtype)
    values = array.view(np.uint16) if dtype == "float16" else array  # half_val holds the bits
    fields = {FIELDS[dtype]: values.flatten().tolist()}
    proto = shaped(array, dtype=tf.as_dtype(dtype).as_datatype_enum, **fields)
    generated = tensor_pb2.TensorProto.FromString(proto.SerializeToString())
    assert same(tf.make_ndarray(generated), array)
    assert same(tensors.to_array(proto), array)


def test_strings_are_read_in_both_forms():
    """TensorFlow's own parser reads the packed form as this test writes it."""
    content = shaped(STRINGS, dtype=7, tensor_content=packed(list(STRINGS.flat)))
    assert (tf.io.parse_tensor(content.SerializeToString(), tf.string).numpy() == STRINGS).all()
    assert same(tensors.to_array(content), STRINGS)
    generated = tf.make_tensor_proto(STRINGS)
    assert list(generated.string_val) == list(STRINGS.flat)
    assert same(tensors.to_array(TensorProto.FromString(generated.SerializeToString())), STRINGS)
    sent = tensor_pb2.TensorProto.FromString(tensors.to_proto(STRINGS).SerializeToString())
    assert (tf.make_ndarray(sent) == STRINGS).all()


def test_values_left_out_repeat_the_last():
    for proto in (
        shaped(np.zeros(4), dtype=3, int_val=[7, 5]),
        shaped(np.zeros(4), dtype=7, string_val=[b"a", b"b"]),
        shaped(np.zeros(4), dtype=1),
    ):
        generated = tensor_pb2.TensorProto.FromString(proto.SerializeToString())
        assert same(tensors.to_array(proto), tf.make_ndarray(generated))


@pytest.mark.parametrize(
    "proto, message",
    [
        (shaped([1, 2], dtype=1, tensor_content=b"1234567"), "expected 8 bytes, got 7"),
        (shaped([1], dtype=1, float_val=[1, 2]), "1 values: got 2"),
        (shaped([1, 2], dtype=7, tensor_content=b"\x01\x02ab"), "expected 5 bytes, got 4"),
        (shaped([1], dtype=7, tensor_content=b"\x80"), "a length is cut off"),
        (shaped([1, 2], dtype=7, tensor_content=b"\x00"), "a length is cut off"),
        (shaped([1], dtype=8), "type 8"),
        (TensorProto(), "type 0"),
        (shaped([1], dtype=4, int_val=[-1]), "out of bounds"),
        (shaped([1], dtype=19, half_val=[70_000]), "out of bounds"),
        (sized(1 << 40, dtype=1), "1099511627776 values: got 0"),
        (sized(1 << 62, 0, dtype=1, float_val=[]), "4611686018427387904"),
    ],
)
def test_tensors_that_cannot_be_read_say_why(proto, message):
    with pytest.raises(InputError, match=message):
        tensors.to_array(proto)
    with pytest.raises(InputError, match=r"complex64: expected bytes or one of float32"):
        tensors.to_proto(np.zeros(2, np.complex64))


def test_requests_and_responses_are_the_public_messages():
    """Field by field through the generated classes, which `tensorflow-serving-api` brings."""
    request = PredictRequest(output_filter=["frames", "ok"])
    request.model_spec.name, request.model_spec.signature_name = "ann", "render_jpeg"
    request.model_spec.version.value = 3
    request.inputs["landmarks"].CopyFrom(tensors.to_proto(np.ones([1, 68, 2], np.float32)))
    public = predict_pb2.PredictRequest.FromString(request.SerializeToString())
    assert (public.model_spec.name, public.model_spec.signature_name) == ("ann", "render_jpeg")
    assert public.model_spec.version.value == 3 and list(public.output_filter) == ["frames", "ok"]
    assert (tf.make_ndarray(public.inputs["landmarks"]) == np.ones([1, 68, 2])).all()
    request.model_spec.ClearField("version")
    request.model_spec.version_label = "stable"
    public = predict_pb2.PredictRequest.FromString(request.SerializeToString())
    assert public.model_spec.version_label == "stable" and not public.model_spec.HasField("version")

    answer = predict_pb2.PredictResponse()
    answer.model_spec.version.value = 9
    answer.outputs["ok"].CopyFrom(tf.make_tensor_proto([True]))
    answer.outputs["card"].CopyFrom(tf.make_tensor_proto([b"{}"]))
    own = PredictResponse.FromString(answer.SerializeToString())
    assert own.model_spec.version.value == 9
    assert tensors.to_array(own.outputs["card"]).tolist() == [b"{}"]
    assert own.SerializeToString(deterministic=True) == answer.SerializeToString(deterministic=True)
