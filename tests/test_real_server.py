"""The production start on a real tensorflow_model_server: the Dockerfile's flags and files, and
what they lead to.
"""

import json
import re
import urllib.request

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving import models_config
from serving.client import AvatarClient
from serving.metrics import Metrics
from tests import toy_models
from tests.real_server import SERVING, RealServer
from tests.serving_fixtures import Calls
from tests.toy_models import landmarks, level


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    toy_models.publish(folder, "anna", 3)
    models_config.update(folder)
    return folder


@pytest.fixture(scope="module")
def production(models):
    """The server with the Dockerfile's flags, only ports and paths replaced."""
    with RealServer(models, models / "server.log") as server:
        yield server


def check_client(address):
    with AvatarClient(address, "anna", label="stable") as avatar:
        assert avatar.card()["version"] == 3
        frames = avatar.render(landmarks(0.25, 0.5, rows=20))
    assert frames.shape == (20, toy_models.SIZE, toy_models.SIZE, 3)
    np.testing.assert_allclose(frames[:, 0, 0], [[3, level(0.25), level(0.5)]] * 20, atol=3)


def test_the_clients_calls_are_answered(production):
    check_client(production.address)


def test_it_is_healthy_once_it_listens(production):
    with grpc.insecure_channel(production.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_the_dashboards_metrics_are_there(production):
    check_client(production.address)
    path = re.search(r'path: "(.+)"', (SERVING / "monitoring.config").read_text())[1]
    with urllib.request.urlopen(f"http://127.0.0.1:{production.rest_port}{path}") as answer:
        page = answer.read().decode()
    there = set(re.findall(r"^# TYPE (\S+) ", page, re.MULTILINE))
    assert {metric.name for metric in vars(Metrics()).values()} <= there


def test_a_request_of_20_megabytes_is_refused_by_its_rows(production):
    """The server takes messages of any size: what bounds a request is `max_batch_size` rows."""
    with Calls(production.address) as calls:
        with pytest.raises(grpc.RpcError) as error:
            calls.predict("anna", {"landmarks": landmarks(0.5, rows=37000)}, timeout=30)
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "larger than maximum input batch size 8" in error.value.details()
        assert tf.make_ndarray(calls.predict("anna").outputs["ok"]).tolist() == [True]


def test_rest_answers_with_base64(production):
    request = {"signature_name": "render_jpeg", "inputs": {"landmarks": landmarks(0.5).tolist()}}
    url = f"http://127.0.0.1:{production.rest_port}/v1/models/anna/labels/stable:predict"
    with urllib.request.urlopen(url, json.dumps(request).encode()) as answer:
        outputs = json.load(answer)["outputs"]
    assert outputs["ok"] == [True] and set(outputs["jpeg_bytes"][0]) == {"b64"}


def test_without_a_models_config_it_ends_instead_of_becoming_ready(tmp_path):
    server = RealServer(tmp_path, tmp_path / "server.log")
    server.start()
    try:
        assert server.process.wait(60) != 0
    finally:
        server.stop()


def test_the_client_reads_strings_packed_into_tensor_content(models, tmp_path):
    """--enable_serialization_as_tensor_content is not in our files, but may be in others'."""
    with RealServer(
        models, tmp_path / "server.log", enable_serialization_as_tensor_content="true"
    ) as server:
        with Calls(server.address) as calls:
            described = calls.predict("anna", {"query": np.zeros([2], np.int32)}, "describe")
            assert described.outputs["card"].tensor_content
        check_client(server.address)
