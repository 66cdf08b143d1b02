"""The person benchmark's figures on preset `tiny`."""

import pytest

from tests.random_avatars import tiny_guided
from tf_talkinghead.benchmark import person
from tf_talkinghead.weights.store import empty, save_trained


@pytest.mark.slow
def test_figures_of_tiny():
    found = person.run("tiny", {"shots": "2", "modes": "vector,feed_forward", "steps": "1"})
    for name in (
        "vector_2_images_seconds",
        "feed_forward_2_images_seconds",
        "model_load_seconds",
        "export_frame_seconds",
    ):
        assert found[name] > 0
    assert "synthetic" in found["weights"] and "synthetic" in found["images"]


@pytest.mark.slow
def test_guided_avatars_are_measured_too(tmp_path):
    weights = save_trained(empty(tiny_guided()), tmp_path / "weights")
    found = person.run(
        "tiny", {"weights": str(weights), "shots": "1", "modes": "feed_forward", "steps": "1"}
    )
    assert found["export_frame_seconds"] > 0 and found["training_graph_frame_seconds"] > 0
