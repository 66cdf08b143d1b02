"""Faces near the border of the picture."""

import numpy as np
import pytest

from tests.face_points import COLLINS
from tf_talkinghead.driving.framing import kept_in_frame

REST = np.float64(COLLINS)  # it fits, with room on each side


def moved(*ways):
    return REST + np.float64(ways)[:, None]


def test_the_neutral_face_and_small_motion_are_unchanged():
    small = moved((0, 0), (0.05, -0.02), (-0.05, 0.02))
    np.testing.assert_array_equal(kept_in_frame(small, REST), np.float32(small))
    # Also where the neutral face touches the border itself.
    close = REST - [0, REST[:, 1].min() - 0.001]
    np.testing.assert_array_equal(kept_in_frame(close[None], close), np.float32(close)[None])


@pytest.mark.parametrize("way", [(0, -1), (0, 1), (-1, 0), (1, 0), (-1, -1)])
def test_a_face_that_goes_far_stays_inside_in_its_own_shape(way):
    far = moved(*(np.float64(way) * step for step in np.linspace(0, 1, 101)))
    kept = kept_in_frame(far, REST)
    assert (kept.min((0, 1)) >= np.array([0.03, 0.1]) - 1e-6).all() and kept.max() <= 0.97 + 1e-6
    np.testing.assert_allclose(
        kept - kept.mean(1, keepdims=True), far - far.mean(1, keepdims=True), atol=1e-6
    )
    # Forwards all the way, without a jump, and never faster than the driver.
    steps = np.diff(kept.mean(1), axis=0) @ np.float64(way) / np.abs(way).sum()
    assert steps.min() > -1e-6 and steps.max() < 0.01 + 1e-6
    assert np.abs(np.diff(steps)).max() < 0.005


def test_a_face_larger_than_the_picture_is_centred():
    large = (REST - REST.mean(0)) * 4 + [0.5, 0.9]
    kept = kept_in_frame(large[None], REST)[0]
    assert kept[:, 1].min() + kept[:, 1].max() == pytest.approx(1, abs=1e-6)


def test_a_face_that_comes_closer_does_not_jump():
    sizes = np.linspace(1, 4, 301)
    close = np.stack([(REST - REST.mean(0)) * size + [0.4, 0.6] for size in sizes])
    steps = np.diff(kept_in_frame(close, REST), axis=0)
    assert np.abs(steps).max() < 2 * np.abs(np.diff(close, axis=0)).max()


def test_pupils_go_with_the_face():
    points = np.concatenate([REST, REST[[37, 44]]])
    kept = kept_in_frame(points[None] + [0, -0.8], points)[0]
    np.testing.assert_allclose(kept[68:] - kept[[37, 44]], 0, atol=1e-6)
