"""The person benchmark's figures on preset `tiny`."""

from tf_talkinghead.benchmark import person


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
