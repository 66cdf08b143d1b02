"""`python -m scripts.evaluate` as a user runs it: a folder of videos in, a report out.

Wrong flags in one line.
"""

import json

import pytest

from tests.moving_portrait import clip
from tests.script_runner import run_script
from tests.test_lpips import difference, frozen
from tf_talkinghead.config import replace
from tf_talkinghead.data import video
from tf_talkinghead.evaluation.protocol import resized
from tf_talkinghead.weights.store import empty, save_trained


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    made = clip(14, 176)
    for person, frames in (("ann", 14), ("bob", 6)):
        (folder / person).mkdir()
        video.write_video(
            folder / person / "talk.mp4",
            [resized(image, 256) for image in made.images[:frames]],
            25,
        )
    return folder


@pytest.fixture(scope="module")
def vgg_weights(tmp_path_factory, tiny):
    """Weights whose run used VGGFace from a file that is not on this machine."""
    elsewhere = {"losses.perceptual": "vgg", "losses.vgg19": 0.0}
    elsewhere["losses.vggface_weights"] = "/not/on/this/machine.h5"
    return save_trained(empty(replace(tiny, elsewhere)), tmp_path_factory.mktemp("weights"))


def test_from_videos_to_report_and_wrong_flags(videos, vgg_weights, tmp_path):
    output = tmp_path / "report"
    some = [
        f"--data={videos}",
        f"--output={output}",
        "--mode=nearest,warp",
        "--shots=1,2",
        "--holdout=8",
        "--gap=2",
        "--size=96",
    ]
    perceptual = f"--lpips={frozen(tmp_path / 'lpips.pb', difference)}"
    good, again, *bad = run_script(
        "evaluate",
        [*some, perceptual],
        [*some, perceptual, "--limit=1"],
        [*some[:2], "--mode=best"],
        [*some[:2], "--mode=vector"],
        [*some, "--shots=0,8"],
        [*some, "--people=eve"],
        [*some, "--face_embedding=nowhere:f"],
        [*some, "--inception=nowhere.h5"],
        [*some, "--lpips=nowhere.pb"],
        [*some[1:], f"--data={tmp_path / 'nowhere'}"],
        [*some, f"--weights={tmp_path}"],
        [*some, "extra"],
        ["--mode=warp"],
        [*some[:2], "--mode=feed_forward,vector", f"--weights={vgg_weights}"],
        [*some[:2], "--mode=vector", f"--weights={vgg_weights}", "--vggface_weights=gone.h5"],
    )
    assert good.code == 0, good.stderr
    assert good.stdout.strip().endswith("report.md: 1 people, 1 problems") and again.code == 0
    report = json.loads((output / "report.json").read_text())
    assert {(row["method"], row["T"]) for row in report["results"]} == {
        ("truth", None),
        *((m, T) for m in ("nearest", "warp") for T in (1, 2)),
    }
    by = {(row["method"], row["T"]): row["lpips"] for row in report["results"]}
    assert 0 < by["warp", 2] < by["nearest", 2] and by["truth", None] is None
    assert "| LPIPS |" in (output / "report.md").read_text()
    # the second run left bob out
    assert report["problems"] == [] and (output / "user_study" / "index.html").exists()
    assert "--shots=1,2" in report["command"] and "nowhere" not in report["command"]
    named = [
        "best",
        "vector",
        "--shots=0,8",
        "eve",
        "--face_embedding",
        "nowhere.h5",
        "nowhere.pb",
        "nowhere",
        "--size",
        "extra",
        "--data",
        "no file at /not/on/this/machine.h5",
        "no file at gone.h5",
    ]
    for result, name in zip(bad, named, strict=True):
        assert (
            result.code == 1
            and result.stderr.splitlines()[-1].startswith("error: ")
            and name in result.stderr
        ), result
        assert "Traceback" not in result.stderr
