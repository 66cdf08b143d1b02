"""One-Euro smoothing: by hand, still faces calmed, fast motion followed."""

import numpy as np
import pytest

from tests.face_points import COLLINS
from tf_talkinghead.driving import LIDS, scripted_motion
from tf_talkinghead.errors import InputError
from tf_talkinghead.smoothing import OneEuro, smooth


def test_by_hand():
    """10 frames a second, one point stepping from (0, 0) to (1, 0): the authors' formulas, written out.

    The speed's low pass at 10 / (2 pi) Hz takes half of 10 crop sides a second, that is 5; the cut-off is then
    (1 + 5 x 0.6) x 10 / (2 pi) Hz, which takes 1 / (1 + 1/4) = 0.8 of the step.
    """
    unit = 10 / (2 * np.pi)
    one_euro = OneEuro(fps=10, minimum_cutoff=unit, speed_gain=0.6 * unit, speed_cutoff=unit)
    np.testing.assert_allclose(one_euro(np.zeros((1, 2))), [[0, 0]])
    np.testing.assert_allclose(one_euro(np.array([[1.0, 0.0]])), [[0.8, 0.0]], atol=1e-6)


def test_a_still_face_stops_trembling():
    noise = np.random.default_rng(0).normal(0, 0.002, (100, 68, 2))
    trembling = COLLINS + noise
    calm = smooth(trembling, fps=25)
    tremble = lambda clip: np.abs(np.diff(clip[20:], axis=0)).mean()
    assert tremble(calm) < 0.5 * tremble(trembling)


def test_motion_is_followed():
    """A blink keeps most of its depth and nothing lags by more than two frames at 25 a second."""
    motion = scripted_motion(COLLINS, fps=25)
    followed = smooth(motion, fps=25)
    opening = lambda clip: np.mean([np.linalg.norm(clip[:, u] - clip[:, l], axis=-1) for u, l in LIDS], axis=0)
    depth = lambda clip: opening(clip)[0] - opening(clip).min()
    assert depth(followed) > 0.8 * depth(motion)
    late = [np.abs(followed[k:] - motion[: len(motion) - k]).mean() for k in range(4)]
    assert np.argmin(late) <= 1
    assert followed.dtype == np.float32


def test_the_axes_direction_does_not_matter():
    motion = scripted_motion(COLLINS, fps=10).astype(np.float64)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    np.testing.assert_allclose(smooth(motion @ turn.T, 10), smooth(motion, 10) @ turn.T, atol=1e-6)


def test_a_clip_is_its_frames_in_order():
    motion = scripted_motion(COLLINS, frames=9)
    one_euro = OneEuro(25)
    np.testing.assert_array_equal(smooth(motion, 25), np.stack([one_euro(frame) for frame in motion]))
    assert smooth(motion[:0], 25).shape == (0, 68, 2)


@pytest.mark.parametrize("settings, message", [
    ({"fps": 0}, "fps must be above 0"),
    ({"fps": 25, "minimum_cutoff": 0}, "minimum_cutoff must be above 0"),
    ({"fps": 25, "speed_gain": -1}, "speed_gain must not be negative"),
])
def test_refusals(settings, message):
    with pytest.raises(InputError, match=message):
        OneEuro(**settings)
