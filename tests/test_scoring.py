"""Figures of a trembling clip: avatars get smoothed landmarks, and are judged by the true ones."""

import dataclasses
import types

import numpy as np
import pytest

from tests.face_points import COLLINS
from tf_talkinghead.config import EvaluationConfig
from tf_talkinghead.driving.smoothing import smooth
from tf_talkinghead.evaluation.person import Task
from tf_talkinghead.evaluation.protocol import PersonClip, split
from tf_talkinghead.evaluation.scoring import Scorer
from tf_talkinghead.faces.geometry import eye_distance

CONFIG = EvaluationConfig(shots=(1,), holdout=8, gap=3)
SIZE = 32
TREMOR = 0.01  # eye distances to either side, from frame to frame


class Finder:
    """A landmark model that finds the landmarks of `frames`, whose pictures hold their number."""

    def __init__(self, landmarks):
        self.landmarks = landmarks

    def detect(self, image):
        return [types.SimpleNamespace(points=self.landmarks[image[0, 0, 0]] * SIZE - 0.5)]


def trembling(fps=25.0):
    """A clip of a still face whose landmarks go to the left and right by turns."""
    landmarks = np.repeat(COLLINS[None], 60, 0)
    landmarks[::2, :, 0] += TREMOR * eye_distance(COLLINS)
    landmarks[1::2, :, 0] -= TREMOR * eye_distance(COLLINS)
    images = (
        np.zeros((60, SIZE, SIZE, 3), np.uint8) + np.arange(60, dtype=np.uint8)[:, None, None, None]
    )
    return PersonClip(images, np.float32(landmarks), fps)


def same_face(images, landmarks):
    return np.ones((len(images), 4))


def scorer(clip, found, smoothed):
    config = dataclasses.replace(CONFIG, smooth=smoothed)
    task = Task([], {}, config, SIZE, None, embed=same_face, centre=np.float64(0))
    return Scorer(task, clip, split(60, config, "a"), Finder(found), None)


def test_avatars_are_given_the_landmarks_that_drive_gives():
    clip = trembling()
    np.testing.assert_array_equal(clip.driving(True), smooth(clip.landmarks, 25.0))
    assert clip.driving(False) is clip.landmarks
    slow = np.abs(trembling(fps=10.0).driving(True) - clip.driving(True)).max()
    assert slow > 0  # the filter works in seconds, not in frames
    judged = scorer(clip, clip.landmarks, smoothed=True)
    holdout = split(60, CONFIG, "a").holdout
    np.testing.assert_array_equal(judged.driving, smooth(clip.landmarks, 25.0)[holdout])
    np.testing.assert_array_equal(judged.landmarks, clip.landmarks[holdout])


def test_a_face_that_stands_still_where_the_detector_trembles():
    """Who shows what was given has no jitter, but is off by what was smoothed away."""
    clip = trembling()
    given = clip.driving(True)
    figures, _, _ = scorer(clip, given, smoothed=True).driven_by_themselves(
        clip.images[split(60, CONFIG, "a").holdout]
    )
    assert figures["jitter"] == pytest.approx(0, abs=1e-6)
    off = np.linalg.norm(given - clip.landmarks, axis=-1).mean() / eye_distance(COLLINS)
    assert figures["landmark_error"] == pytest.approx(off, rel=0.1) and off > TREMOR / 3
    # Driven by the landmarks as they were detected, the same frames miss all of the tremor left.
    raw, _, _ = scorer(clip, given, smoothed=False).driven_by_themselves(
        clip.images[split(60, CONFIG, "a").holdout]
    )
    assert raw["jitter"] == pytest.approx(2 * off, rel=0.1)
    assert raw["landmark_error"] == figures["landmark_error"]


@pytest.mark.parametrize("smoothed", [True, False])
def test_the_row_of_the_true_frames_is_that_of_a_perfect_result(smoothed):
    clip = trembling()
    judged = scorer(clip, clip.landmarks, smoothed)
    perfect, _, _ = judged.driven_by_themselves(judged.truth)
    floor = judged.true_frames()
    for name in ("jitter", "landmark_error", "blink", "mouth", "faces_found"):
        assert floor[name] == perfect[name], name
    assert floor["landmark_error"] == pytest.approx(0, abs=1e-6)
    assert (floor["jitter"] > TREMOR) == smoothed  # what was smoothed away is not asked for
