"""The data benchmark runs without any footage, and landmark accuracy holds on real clips."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

from tests.face_footage import write_face
from tf_talkinghead.benchmark import data
from tf_talkinghead.benchmark.landmark_accuracy import accuracy
from tf_talkinghead.errors import InputError
from tf_talkinghead.faces.crops import default_landmarks

ROOT = pathlib.Path(__file__).parents[1]


@pytest.mark.slow
def test_runs_on_what_it_synthesises():
    figures = data.run("tiny", {"episodes": "32", "frames": "12", "rounds": "1"})
    assert figures["footage"].startswith("synthesised") and figures["dataset"].startswith(
        "synthesised"
    )
    numbers = {name: value for name, value in figures.items() if not isinstance(value, str)}
    assert numbers.pop("landmark_frames_unsure_or_unseen") == 0
    wrong = {
        name: value
        for name, value in numbers.items()
        if not (isinstance(value, float) and 0 < value < np.inf)
    }
    assert not wrong
    assert figures["episodes_drawn"] == 32 and figures["episode_decode_share"] < 1
    stages = sum(
        figures[f"{stage}_ms_per_frame"] for stage in ("decode", "landmarks", "crop", "encode")
    )
    assert figures["prepared_frames_per_second_and_core"] == pytest.approx(1000 / stages)
    assert (
        0.3 < figures["machine_two_over_one_landmarks"] < 6
        and 0.3 < figures["machine_two_over_one_decode"] < 6
    )


COUNTED = """
from tf_talkinghead.benchmark import scaling
clock = [0.0]
scaling.time.perf_counter = lambda: clock[0]
def work(): clock[0] += 0.02
print(scaling.rounds_per_second(work, 1, 0.5), scaling.rounds_per_second(work, 2, 0.5))
"""


def test_two_at_once_are_counted_together():
    """By a clock that only a round moves, by 20 ms: one process makes 50
    rounds a second, two make 100.
    """
    said = subprocess.run(
        [sys.executable, "-c", COUNTED], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert [float(rate) for rate in said.split()] == pytest.approx([50, 100])


def test_bad_option_is_named():
    with pytest.raises(InputError, match="--option=episodes=many"):
        data.run("tiny", {"episodes": "many"})


def test_accuracy_of_a_still_face_is_that_of_the_detector(tmp_path, portrait):
    write_face(tmp_path / "a.mp4", portrait, 12, size=240)
    figures = accuracy([tmp_path / "a.mp4"], default_landmarks())
    assert figures["landmark_comparisons"] == 2 and figures["followed_from_detected_percent"] < 2
    assert 0 < figures["plain_detector_repeatability_percent"] < 4


@pytest.mark.slow
def test_following_is_as_good_as_detecting_on_ten_real_clips(real_data):
    paths = sorted((real_data / "videos").iterdir())[::5][:10]
    figures = accuracy(paths, default_landmarks())
    assert figures["landmark_comparisons"] > 100 and figures["landmark_frames_unsure_or_unseen"] < 6
    assert figures["followed_from_detected_percent"] < 2
    assert figures["followed_from_detected_percent"] <= figures["detector_repeatability_percent"]
    assert (
        figures["followed_from_detected_percent"]
        <= 0.5 * figures["plain_detector_repeatability_percent"]
    )
