"""The driver's gaze made steady, and given to another face."""

import numpy as np
import pytest

from tests.face_points import COLLINS
from tf_talkinghead.driving.expression import read_motion
from tf_talkinghead.driving.gaze import shrunk, steady_gaze, with_gaze
from tf_talkinghead.driving.scripted_motion import scripted_motion

FPS = 25
MOTION = scripted_motion(COLLINS, fps=FPS)  # turns, nods, blinks, talks


def looks_aside(noise=0.0, seed=0):
    """Gaze that steps to the right at 2 s and back at 4 s, and the pupils found of it."""
    gaze = np.zeros((len(MOTION), 2))
    gaze[50:100, 0] = 0.25
    pupils = with_gaze(MOTION, COLLINS, gaze)[:, 68:]
    eye = np.linalg.norm(COLLINS[39] - COLLINS[36])
    pupils += np.random.default_rng(seed).normal(0, noise * eye, pupils.shape)
    return gaze, np.float32(pupils)


def test_gaze_survives_head_motion_and_comes_back():
    gaze, pupils = looks_aside()
    points = np.concatenate([MOTION, pupils], 1)
    np.testing.assert_allclose(read_motion(points, COLLINS)[:, -2:], gaze, atol=1e-4)
    steady = steady_gaze(MOTION, pupils, COLLINS, FPS)
    np.testing.assert_allclose(steady, shrunk(gaze), atol=1e-4)  # the step keeps its frame


def test_noise_is_reduced_and_a_saccade_is_not_delayed():
    _, pupils = looks_aside(noise=0.05)  # the finder's error, 4.7 % of the eye's width
    raw = read_motion(np.concatenate([MOTION, pupils], 1), COLLINS)[:, -2:]
    steady = steady_gaze(MOTION, pupils, COLLINS, FPS)
    resting = np.r_[5:45, 105:195]
    assert steady[resting].std() < 0.4 * raw[resting].std()
    assert np.abs(steady[60:90, 0] - 0.25).max() < 0.08
    crossing = np.flatnonzero(steady[:, 0] > 0.125)
    assert abs(crossing[0] - 50) <= 1 and abs(crossing[-1] - 99) <= 1


def test_blinks_are_bridged_and_no_pupils_are_no_gaze():
    _, pupils = looks_aside()
    pupils[70:76] = np.nan
    steady = steady_gaze(MOTION, pupils, COLLINS, FPS)
    assert np.isfinite(steady).all() and np.abs(steady[70:76, 0] - 0.25).max() < 0.01
    pupils[20:] = np.nan
    assert steady_gaze(MOTION, pupils, COLLINS, FPS) is None


def test_one_pupil_is_enough_and_the_other_is_placed():
    _, pupils = looks_aside()
    pupils[:, 1] = np.nan
    steady = steady_gaze(MOTION, pupils, COLLINS, FPS)
    np.testing.assert_allclose(steady[60:90, 0], 0.25, atol=0.01)
    placed = with_gaze(MOTION, COLLINS, steady)
    assert np.isfinite(placed).all() and placed.dtype == np.float32


def test_gaze_of_nothing_is_the_references_own():
    reference = np.concatenate([COLLINS, [[0.385, 0.355], [0.626, 0.361]]])
    placed = with_gaze(COLLINS[None], reference, np.zeros((1, 2)))
    np.testing.assert_allclose(placed[0, 68:], reference[68:], atol=1e-5)
    assert with_gaze(COLLINS[None], reference, np.array([[0.2, 0.1]]))[0, 68, 0] > 0.385


def test_small_shifts_shrink_and_large_ones_do_not():
    assert shrunk(np.array([0.3, 0.0]))[0] == pytest.approx(0.3, rel=0.02)
    assert shrunk(np.array([0.01, 0.0]))[0] == pytest.approx(0.001, rel=0.02)
