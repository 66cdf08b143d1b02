"""Batching, rows that are not finite, and refusals; servers as in test_serving_conformance.py."""

import concurrent.futures

import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2
from tensorflow_serving.apis import predict_pb2

from tests.conformance import Code, refusal
from tests.toy_models import landmarks, level


def test_callers_batched_together_get_their_own_rows(served, toy):
    def call(index):
        rows = 1 + index % 3
        x = np.float32([(index * 7 + row) % 101 / 100 for row in range(rows)])
        inputs = np.concatenate([landmarks(value, 0.1 * (index % 10)) for value in x])
        frames = tf.make_ndarray(
            served.predict(toy, {"landmarks": inputs}, timeout=30).outputs["frames"]
        )
        return (
            frames[:, 0, 0, 1].tolist() == [level(v) for v in x]
            and (frames[..., 2] == level(0.1 * (index % 10))).all()
        )

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert all(pool.map(call, range(160)))


def test_a_request_larger_than_a_batch_is_refused(served, toy):
    with refusal(Code.INVALID_ARGUMENT) as refused:
        served.predict(toy, {"landmarks": landmarks(0.5, rows=9)})
    assert "larger than maximum input batch size 8" in refused.details


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_harms_nobody(served, toy, value):
    bad = landmarks(0.2, 0.7, 3)
    bad[1, 40, 0] = value
    outputs = served.predict(toy, {"landmarks": bad}).outputs
    assert tf.make_ndarray(outputs["ok"]).tolist() == [True, False, True]
    assert tf.make_ndarray(outputs["frames"])[[0, 2], 0, 0, 1].tolist() == [level(0.2)] * 2


@pytest.mark.parametrize(
    "inputs",
    [
        {"landmarks": np.zeros([1, 68, 2], np.float64)},
        {"landmarks": np.zeros([1, 68, 2], np.int32)},
        {"landmarks": np.zeros([1, 67, 2], np.float32)},
        {"landmarks": np.zeros([68, 2], np.float32)},
        {"landmarks": np.float32(0.5)},
        {"landmark": np.zeros([1, 68, 2], np.float32)},
        {"landmarks": np.zeros([1, 68, 2], np.float32), "person": np.zeros([1, 4], np.float16)},
        {"query": np.zeros([1], np.int32)},
    ],
    ids=[
        "float64",
        "int32",
        "67 points",
        "no batch",
        "scalar",
        "misspelt",
        "one too many",
        "another's",
    ],
)
def test_inputs_that_do_not_fit_are_refused(served, toy, inputs):
    with refusal(Code.INVALID_ARGUMENT):
        served.predict(toy, inputs)


def test_malformed_tensors_are_refused(served, toy):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = toy
    proto = request.inputs["landmarks"]
    proto.CopyFrom(tf.make_tensor_proto(landmarks(0.5)))
    proto.tensor_content = proto.tensor_content[:-1]
    with refusal(Code.INVALID_ARGUMENT) as refused:
        served.predict_stub.Predict(request, timeout=10)
    assert "tensor parsing error: landmarks" in refused.details


def test_an_unknown_signature_and_a_missing_name(served, toy):
    with refusal(Code.FAILED_PRECONDITION) as refused:
        served.predict(toy, signature="render_png")
    assert refused.details == 'Serving signature key "render_png" not found.'
    with refusal(Code.INVALID_ARGUMENT):
        served.predict_stub.Predict(predict_pb2.PredictRequest(), timeout=10)
    with refusal(Code.INVALID_ARGUMENT):
        served.predict("")


def test_a_deadline_that_has_passed(served, toy):
    with refusal(Code.DEADLINE_EXCEEDED):
        served.predict(toy, timeout=-1.0)


def test_the_health_service_answers(served, toy):
    answer = served.health_stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
