"""One-Euro smoothing: by hand, still faces calmed, fast motion followed."""

import numpy as np
import pytest

from tests.face_points import COLLINS
from tf_talkinghead.driving.scripted_motion import scripted_motion
from tf_talkinghead.driving.smoothing import FACE, OneEuro, smooth
from tf_talkinghead.errors import InputError
from tf_talkinghead.faces.geometry import LIDS, expressed


def test_by_hand():
    """10 frames a second, one point stepping from (0, 0) to (1, 0): the authors' formulas, written
    out.

    The speed's low pass at 10 / (2 pi) Hz takes half of 10 crop sides a second, that is 5; the
    cut-off is then (1 + 5 x 0.6) x 10 / (2 pi) Hz, which takes 1 / (1 + 1/4) = 0.8 of the step.
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
    assert tremble(calm[:, :36]) < 0.5 * tremble(trembling[:, :36])
    assert tremble(calm[:, 36:]) < 0.75 * tremble(trembling[:, 36:])


def eye_gap(clip):
    return np.mean([np.linalg.norm(clip[:, u] - clip[:, l], axis=-1) for u, l in LIDS], axis=0)


def lip_gap(clip):
    return np.linalg.norm(clip[:, 66] - clip[:, 62], axis=-1)


def test_motion_is_followed():
    """Nothing lags by more than a frame at 25 a second."""
    motion = scripted_motion(COLLINS, fps=25)
    followed = smooth(motion, fps=25)
    late = [np.abs(followed[k:] - motion[: len(motion) - k]).mean() for k in range(4)]
    assert np.argmin(late) <= 1
    assert followed.dtype == np.float32


@pytest.mark.parametrize("blink", [(0.5, 1, 0.5), (0.5, 1, 1, 0.5), (0.4, 1, 1, 0.7, 0.3)])
def test_a_blink_of_a_few_frames_keeps_its_depth(blink):
    closed = [*np.zeros(10), *blink, *np.zeros(10)]
    clip = np.stack([expressed(COLLINS.astype(np.float64), share, 0, 0) for share in closed])
    assert np.ptp(eye_gap(smooth(clip, 25))) > 0.9 * np.ptp(eye_gap(clip))


@pytest.mark.parametrize("hertz", [2, 4.2, 5])
def test_lips_keep_their_opening(hertz):
    opened = 0.5 * np.sin(np.pi * hertz * np.arange(75) / 25) ** 2
    clip = np.stack([expressed(COLLINS.astype(np.float64), 0, share, 0) for share in opened])
    assert np.ptp(lip_gap(smooth(clip, 25)[25:])) > 0.9 * np.ptp(lip_gap(clip)[25:])


def test_the_axes_direction_does_not_matter():
    motion = scripted_motion(COLLINS, fps=10).astype(np.float64)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    np.testing.assert_allclose(smooth(motion @ turn.T, 10), smooth(motion, 10) @ turn.T, atol=1e-6)


def test_a_clip_is_smoothed_both_ways():
    motion = scripted_motion(COLLINS, frames=9)

    def one_way(frames):
        one_euro = OneEuro(25, **FACE)
        return np.stack([one_euro(frame) for frame in frames])

    both = (one_way(motion) + one_way(motion[::-1])[::-1]) / 2
    np.testing.assert_array_equal(smooth(motion, 25), both)
    np.testing.assert_allclose(smooth(motion[::-1], 25), smooth(motion, 25)[::-1], atol=1e-6)
    assert smooth(motion[:0], 25).shape == (0, 68, 2)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"fps": 0}, "fps must be above 0"),
        ({"fps": 25, "minimum_cutoff": 0}, "minimum_cutoff must be above 0"),
        ({"fps": 25, "speed_gain": -1}, "speed_gain must not be negative"),
    ],
)
def test_refusals(settings, message):
    with pytest.raises(InputError, match=message):
        OneEuro(**settings)
