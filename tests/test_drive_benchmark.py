"""The benchmark of the whole chain, against a server that runs already."""

import pytest

from serving import drive_benchmark
from tests.random_avatars import random_guided_avatar
from tests.serving_fixtures import serving
from tf_talkinghead.data import video
from tf_talkinghead.errors import InputError
from tf_talkinghead.export.saved_model import export_person


@pytest.mark.slow
def test_every_stage_is_measured(portrait, tmp_path):
    export_person(random_guided_avatar(), tmp_path / "models", "ann")
    video.write_video(tmp_path / "clip.mp4", [portrait] * 6, 10)
    with serving(models=str(tmp_path / "models")) as server:
        figures = drive_benchmark.run(
            "demo",
            {
                "driver": str(tmp_path / "clip.mp4"),
                "server": f"localhost:{server.port}",
                "person": "ann",
                "rounds": "1",
            },
        )
    stages = ("decode", "landmarks", "retarget", "render", "encode")
    assert figures["driver_frames"] == 6 and figures["frames_per_second"] > 0
    assert all(figures[f"{stage}_ms"] > 0 for stage in stages)
    assert sum(figures[f"{stage}_share"] for stage in stages) == pytest.approx(1.0)


def test_a_server_needs_a_name():
    with pytest.raises(InputError, match="go together"):
        drive_benchmark.run("demo", {"server": "localhost:1"})
