"""Malformed requests: each gets the right status, the server lives, and the next good request is
right.
"""

import random

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import predict_pb2

from serving import requests, servables
from serving.status import StatusError
from tests import toy_models
from tests.serving_fixtures import request_for, serving
from tests.toy_models import landmarks, level

Code = grpc.StatusCode
MALFORMED = 5000


def random_bytes(rng):
    """Garbage: INTERNAL where it is no protobuf at all, as gRPC says it."""
    data = rng.randbytes(rng.randrange(1, 200))
    return data, ({Code.INTERNAL} if not parses(data) else {Code.INVALID_ARGUMENT, Code.NOT_FOUND})


def damaged(rng):
    """A good request cut short or with bytes changed.

    What still parses may be anything, even good.
    """
    data = bytearray(request_for("toy").SerializeToString())
    if rng.random() < 0.5:
        del data[rng.randrange(len(data)) :]
    else:
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(min(len(data), 80))] = rng.randrange(256)
    if not parses(bytes(data)):
        return bytes(data), {Code.INTERNAL}
    return bytes(data), {Code.OK, Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.FAILED_PRECONDITION}


def parses(data):
    try:
        predict_pb2.PredictRequest.FromString(bytes(data))
        return True
    except DecodeError:
        return False


def wrong_dtype(rng):
    request = request_for("toy")
    request.inputs["landmarks"].dtype = rng.choice(
        [number for number in range(140) if number != tf.float32]
    )
    return request, {Code.INVALID_ARGUMENT}


def wrong_shape(rng):
    shape = [rng.randrange(0, 20) for _ in range(rng.randrange(0, 5))]
    if len(shape) == 3:
        shape[1:] = [67, 2]
    return request_for("toy", {"landmarks": np.zeros(shape, np.float32)}), {Code.INVALID_ARGUMENT}


def claimed_shape(rng):
    """Few bytes that claim a tensor of any size."""
    request = request_for("toy")
    proto = request.inputs["landmarks"]
    proto.tensor_content = b""
    proto.float_val.append(0.5)
    proto.tensor_shape.dim[0].size = rng.choice(
        [9, 1 << 20, 1 << 40, (1 << 63) - 1, -1, -(1 << 60)]
    )
    if rng.random() < 0.2:
        proto.tensor_shape.unknown_rank = True
    return request, {Code.INVALID_ARGUMENT}


def not_finite(rng):
    rows = rng.randrange(1, 9)
    values = landmarks(0.5, rows=rows)
    values[rng.randrange(rows), rng.randrange(68), rng.randrange(2)] = rng.choice(
        [np.nan, np.inf, -np.inf]
    )
    return request_for("toy", {"landmarks": values}), {Code.OK}  # the row's `ok` is false


def truncated_tensor(rng):
    request = request_for("toy")
    proto = request.inputs["landmarks"]
    proto.tensor_content = proto.tensor_content[: rng.randrange(1, 543)] + b"x" * rng.choice(
        [0, 1000]
    )
    return request, {Code.INVALID_ARGUMENT}


def huge_batch(rng):
    return request_for("toy", {"landmarks": landmarks(0.5, rows=rng.randrange(9, 1500))}), {
        Code.INVALID_ARGUMENT
    }


def unknown_signature(rng):
    name = "".join(rng.choices("abcdefghij_\u00e4\n", k=rng.randrange(1, 30)))
    return request_for("toy", signature=name), {Code.FAILED_PRECONDITION}


def unknown_output(rng):
    request = request_for("toy")
    request.output_filter.extend(rng.choice([["picture"], ["ok", "ok"], ["frames", ""]]))
    return request, {Code.INVALID_ARGUMENT}


def wrong_inputs(rng):
    inputs = rng.choice(
        [
            {},
            {"landmark": landmarks(0.5)},
            {"landmarks": landmarks(0.5), "x": landmarks(0.5)},
            {"": np.zeros(3, np.float32)},
        ]
    )
    return request_for("toy", inputs), {Code.INVALID_ARGUMENT}


def unknown_model(rng):
    request = request_for("toy")
    kind = rng.randrange(4)
    if kind == 0:
        request.model_spec.name = rng.choice(
            ["nobody", "../toy", "/etc/passwd", "toy/1", "t\u00f6y", "x" * 10000]
        )
    elif kind == 1:
        request.model_spec.version.value = rng.choice([0, 2, -1, (1 << 63) - 1, -(1 << 63)])
    elif kind == 2:
        request.model_spec.version_label = rng.choice(["stable ", "", "beta"])
        return request, {Code.INVALID_ARGUMENT}
    else:
        request.model_spec.name = ""
        return request, {Code.INVALID_ARGUMENT}
    return request, {Code.NOT_FOUND}


KINDS = [
    random_bytes, damaged, wrong_dtype, wrong_shape, claimed_shape, not_finite, truncated_tensor,
    huge_batch,
    unknown_signature, unknown_output, wrong_inputs, unknown_model,
]  # fmt: skip


def test_malformed_requests_get_the_right_status_and_harm_nobody(tmp_path, caplog):
    toy_models.publish(tmp_path / "models", "toy", 1)
    rng = random.Random(0)
    seen = {}
    with serving(models=str(tmp_path / "models")) as server:
        channel = grpc.insecure_channel(f"localhost:{server.port}")
        raw = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")

        def check_good():
            x = rng.random()
            response = raw(
                request_for("toy", {"landmarks": landmarks(x)}).SerializeToString(), timeout=30
            )
            frames = tf.make_ndarray(
                predict_pb2.PredictResponse.FromString(response).outputs["frames"]
            )
            assert frames[0, 0, 0].tolist() == [1, level(x), level(0.5)]

        for index in range(MALFORMED):
            kind = KINDS[index % len(KINDS)]
            request, expected = kind(rng)
            data = request if isinstance(request, bytes) else request.SerializeToString()
            try:
                raw(data, timeout=30)
                code = Code.OK
            except grpc.RpcError as error:
                code = error.code()
                assert code in expected, f"{kind.__name__} {index}: {code}: {error.details()}"
            assert code in expected, f"{kind.__name__} {index}: {code}"
            seen.setdefault(kind.__name__, set()).add(code)
            if index % 100 == 99:
                check_good()
        check_good()
    assert {Code.OK, Code.INTERNAL} <= seen[
        "damaged"
    ]  # some were harmless after all, some were no protobuf


@pytest.fixture(scope="module")
def servable(tmp_path_factory):
    made = servables.Servable(
        "toy", 1, toy_models.publish(tmp_path_factory.mktemp("models"), "bank", 1, bank=True)
    )
    yield made
    made.close()


def parsed(servable, **protos):
    request = predict_pb2.PredictRequest()
    for alias, proto in protos.items():
        request.inputs[alias].CopyFrom(proto)
    return requests.parse(servable, request).inputs


def listed(values, shape, **field):
    proto = tensor_pb2.TensorProto(dtype=tf.float32.as_datatype_enum, float_val=values, **field)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


def test_listed_values_are_read_as_the_runtime_reads_them(servable):
    vector = tf.make_tensor_proto(np.float16([[0.25, 0.5, 1, 2]]))
    read = lambda values: parsed(servable, landmarks=listed(values, [1, 68, 2]), person=vector)[
        "landmarks"
    ].ravel()
    assert read([]).tolist() == [0.0] * 136
    assert read([1, 2]).tolist() == [1.0] + [2.0] * 135
    assert read(range(200)).tolist() == list(range(136))
    halves = tensor_pb2.TensorProto(
        dtype=tf.float16.as_datatype_enum, half_val=np.float16([0.25, 3]).view(np.uint16)
    )
    for size in (1, 4):
        halves.tensor_shape.dim.add(size=size)
    person = parsed(servable, landmarks=listed([0.5], [1, 68, 2]), person=halves)["person"]
    assert person.dtype == np.float16 and person.tolist() == [[0.25, 3, 3, 3]]


def test_inputs_of_different_lengths_are_refused(servable):
    with pytest.raises(StatusError, match="equal 0th-dimension size"):
        parsed(
            servable,
            landmarks=listed([0.5], [2, 68, 2]),
            person=tf.make_tensor_proto(np.zeros([1, 4], np.float16)),
        )


@pytest.mark.parametrize(
    "value", [np.zeros([2, 3], np.uint8), np.float32([[1.5]]), np.array([True, False])]
)
def test_numbers_go_out_as_raw_content(value):
    proto = tensor_pb2.TensorProto()
    requests.write_tensor(proto, value)
    assert proto.tensor_content == value.tobytes()
    np.testing.assert_array_equal(tf.make_ndarray(proto), value)


def test_strings_go_out_one_by_one():
    proto = tensor_pb2.TensorProto()
    requests.write_tensor(proto, np.array([b"a", b"\xff\x00"], object))
    assert tf.make_ndarray(proto).tolist() == [b"a", b"\xff\x00"]
