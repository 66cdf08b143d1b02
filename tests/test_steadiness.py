"""Jitter and lag of landmarks; those of the filter on real clips are slow tests."""

import csv

import numpy as np
import pytest

from tests.face_points import COLLINS
from tf_talkinghead.config import PreparationConfig
from tf_talkinghead.driving.driver import read_driver
from tf_talkinghead.driving.scripted_motion import scripted_motion
from tf_talkinghead.driving.smoothing import FACE, OneEuro, smooth
from tf_talkinghead.driving.steadiness import jitter, lag
from tf_talkinghead.faces.geometry import eye_distance

MOTION = scripted_motion(COLLINS, fps=25)


def test_even_motion_has_no_jitter_and_trembling_has_its_size():
    steps = np.arange(20)[:, None, None] * np.float64([0.01, 0.02])
    even = COLLINS + steps
    assert jitter(even) == pytest.approx(0, abs=1e-6)
    trembling = even.copy()
    trembling[::2, :, 0] += 0.01  # second differences of 0.02
    assert jitter(trembling) == pytest.approx(0.02 / eye_distance(COLLINS), rel=0.01)


@pytest.mark.parametrize("frames", [0, 1, 2, -1])
def test_lag_is_the_shift(frames):
    late = np.roll(MOTION, frames, axis=0)
    assert lag(MOTION, late) == pytest.approx(frames, abs=0.05)


def test_lag_between_frames():
    times = np.arange(100)

    def nod(shift):
        y = 0.05 * np.sin((times - shift) / 6)
        return COLLINS + np.stack([np.zeros(100), y], -1)[:, None]

    assert lag(nod(0), nod(0.4)) == pytest.approx(0.4, abs=0.1)


def test_films_do_not_lag_and_live_motion_by_less_than_a_frame():
    noisy = MOTION + np.random.default_rng(0).normal(0, 0.003, MOTION.shape)
    one_euro = OneEuro(25, **FACE)
    live = np.stack([one_euro(frame) for frame in noisy])
    assert abs(lag(MOTION, smooth(noisy, 25))) < 0.1
    assert 0 < lag(MOTION, live) < 1
    assert jitter(smooth(noisy, 25)) < 0.75 * jitter(noisy)


@pytest.mark.slow
@pytest.mark.parametrize("split", ["choose", "report"])
def test_drivers_are_steadier_than_their_landmarks_and_not_late(real_data, split):
    """The filter was set on "choose"; prints a line a clip."""
    with open(real_data / "MANIFEST.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    for row in [row for row in rows if row["kind"] == "video"]:
        path, config = real_data / row["file"], PreparationConfig()
        raw = read_driver(path, config, smoothing=False, progress=False).landmarks
        smoothed = smooth(raw, float(row["fps"]))
        left, late = jitter(smoothed) / jitter(raw), lag(raw, smoothed)
        print(f"{row['name']}: jitter left {left:.2f}, lag {late:.2f} frames")
        assert left < 1.0 and abs(late) < 1.0
