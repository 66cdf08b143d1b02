"""The metrics page and the REST status, as Prometheus and curl read them."""

import json
import socket
import urllib.error
import urllib.request

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.metrics import Counter, Histogram
from tests import toy_models
from tests.serving_fixtures import answering, request_for, serving, stub_of

PATH = "/monitoring/prometheus/metrics"


@pytest.fixture
def server(tmp_path):
    toy_models.publish(tmp_path / "models", "anna", 1)
    toy_models.publish(tmp_path / "models", "anna", 2)
    monitoring = tmp_path / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: true }")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    with serving(
        models=str(tmp_path / "models"), rest_api_port=port, monitoring_config_file=str(monitoring)
    ) as made:
        yield made


def get(server, path):
    with urllib.request.urlopen(
        f"http://localhost:{server.options.rest_api_port}{path}", timeout=10
    ) as response:
        return response.read().decode()


def samples(server):
    """(name, labels as a frozenset) -> value of everything on the page.

    The parser gives counters an OpenMetrics name with `_total`, which the page does not have.
    """
    page = get(server, PATH)
    assert "_total" not in page
    families = text_string_to_metric_families(page)
    return {
        (sample.name.removesuffix("_total"), frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def test_counts_and_latencies_stand_under_tensorflow_servings_names(server):
    for _ in range(3):
        answering(server, "anna")
    for name, signature in (("anna", "nothing"), ("nobody", "serving_default")):
        with pytest.raises(grpc.RpcError):
            stub_of(server).Predict(request_for(name, signature=signature), timeout=10)
    page = samples(server)
    count = lambda **labels: page[":tensorflow:serving:request_count", frozenset(labels.items())]
    assert count(model_name="anna", status="OK") == 3
    assert count(model_name="anna", status="FAILED_PRECONDITION") == 1
    assert count(model_name="", status="NOT_FOUND") == 1
    labels = frozenset({"model_name": "anna", "API": "Predict", "entrypoint": "GRPC"}.items())
    assert page[":tensorflow:serving:request_latency_count", labels] == 3
    assert page[":tensorflow:serving:request_latency_bucket", labels | {("le", "+Inf")}] == 3
    assert page[":tensorflow:serving:request_latency_sum", labels] > 0
    labels = frozenset({"model_name": "anna", "API": "Predict", "runtime": "TF1"}.items())
    assert page[":tensorflow:serving:runtime_latency_count", labels] == 3
    pool = frozenset({("thread_pool_name", "model_server_batch_threads")})
    assert page[":tensorflow:serving:batching_session:queuing_latency_count", pool] == 3
    path = str(server.manager.registry.models["anna"][2].path)
    load = frozenset({("model_path", path), ("status", "success")})
    assert page[":tensorflow:cc:saved_model:load_attempt_count", load] == 1
    assert page[":tensorflow:serving:model_warmup_latency_count", load] == 1


def test_model_status_over_rest(server):
    for path in ("/v1/models/anna", "/v1/models/anna/versions/2", "/v1/models/anna/labels/canary"):
        row = json.loads(get(server, path))["model_version_status"][0]
        assert row == {
            "version": "2",
            "state": "AVAILABLE",
            "status": {"error_code": "OK", "error_message": ""},
        }
    for path, status in (
        ("/v1/models/nobody", 404),
        ("/v1/models/anna/labels/x", 400),
        ("/v2", 404),
    ):
        with pytest.raises(urllib.error.HTTPError) as error:
            get(server, path)
        assert error.value.code == status and json.loads(error.value.read())["error"]


def test_a_histogram_counts_up_to_each_bound():
    made = Histogram("h", "text", ("model",), (10.0, 100.0))
    for value in (5, 10, 50, 1000):
        made.observe(value, 'a"b')
    assert made.lines() == [
        r'h_bucket{model="a\"b",le="10"} 2',
        r'h_bucket{model="a\"b",le="100"} 3',
        r'h_bucket{model="a\"b",le="+Inf"} 4',
        r'h_sum{model="a\"b"} 1065',
        r'h_count{model="a\"b"} 4',
    ]


def test_a_counter_without_labels():
    made = Counter("c", "text", ())
    made.add()
    made.add(amount=4)
    assert made.lines() == ["c 5"]
