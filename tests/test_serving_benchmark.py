"""The serving benchmark with a server of its own, and against one that runs already."""

import json

import pytest

from serving import benchmark, models_config
from tests import toy_models
from tests.script_runner import run_script
from tests.serving_fixtures import polling


@pytest.fixture
def models(tmp_path):
    toy_models.publish(tmp_path / "models", "anna", 1)
    models_config.update(tmp_path / "models")
    return tmp_path / "models"


@pytest.mark.slow
def test_an_avatar_of_its_own_is_served_and_measured():
    figures = benchmark.run("tiny", {"seconds": "0.1", "clients": "1"})
    for caller in ("in_process", "served"):
        p50, p99 = (figures[f"one_frame_{caller}_p{share}_ms"] for share in (50, 99))
        assert 0 < p50 <= p99
    assert figures["frames_per_second_1_clients"] > 0
    assert figures["in_process_batched_frames_per_second"] > 0


def test_any_server_is_measured(models, tmp_path):
    report = tmp_path / "figures.json"
    options = ["--option=seconds=0.2", "--option=clients=1/2", f"--json={report}"]
    with polling("embedded", models) as address:
        server = f"--option=server={address}"
        made, *refused = run_script(
            "benchmark",
            ["serving", server, "--option=person=anna", *options],
            ["serving", server, "--option=person=nobody", *options],
            ["serving", server, "--option=measure=memory"],
            ["serving", "--option=person=anna"],
        )
    assert made.code == 0, made.stderr
    figures = json.loads(report.read_text())
    assert figures["one_frame_served_p99_ms"] >= figures["one_frame_served_p50_ms"] > 0
    assert figures["frames_per_second_1_clients"] > 0 and figures["frames_per_second_2_clients"] > 0
    assert figures["request_bytes_serving_default"] > 544
    reasons = ("'nobody' is not served", "measures processes of its own", "needs --option=server")
    for result, reason in zip(refused, reasons):
        assert result.code == 1 and reason in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
