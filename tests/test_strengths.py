"""Strengths: 1 changes nothing, 0 leaves the reference's, each part alone moves by its strength."""

import numpy as np
import pytest

from tests.face_points import COLLINS
from tf_talkinghead.driving.expression import read_motion
from tf_talkinghead.driving.face_model import BROWS, LIDS, LIPS_AND_JAW, NAMES, POSE
from tf_talkinghead.driving.scripted_motion import scripted_motion
from tf_talkinghead.driving.strengths import checked_strengths, strengthen
from tf_talkinghead.errors import InputError

MOTION = scripted_motion(COLLINS, frames=40)
REFERENCE = np.concatenate([COLLINS, [(0.385, 0.352), (0.626, 0.361)]])
WITH_PUPILS = np.concatenate(
    [MOTION, np.random.default_rng(0).normal(0.5, 0.1, (40, 2, 2))], axis=1
)


def columns(names):
    return [NAMES.index(name) for name in names]


def test_strengths_of_one_change_nothing():
    np.testing.assert_allclose(strengthen(MOTION, COLLINS), MOTION, atol=1e-6)
    clip = WITH_PUPILS.copy()
    clip[3, 68], clip[4, 68:] = np.nan, np.nan
    np.testing.assert_allclose(strengthen(clip, REFERENCE), clip, atol=1e-6)


@pytest.mark.parametrize(
    "part, names", [("pose", POSE), ("eyes", LIDS), ("lips", LIPS_AND_JAW), ("brows", BROWS)]
)
def test_strength_multiplies_its_own_part_alone(part, names):
    before = read_motion(MOTION, COLLINS)
    after = read_motion(strengthen(MOTION, COLLINS, **{part: 0.5}), COLLINS)
    before[:, NAMES.index("scale")] = np.log(before[:, NAMES.index("scale")])
    after[:, NAMES.index("scale")] = np.log(after[:, NAMES.index("scale")])
    expected = before.copy()
    expected[:, columns(names)] *= 0.5
    # Detail that the rigid points keep turns the fitted head by a tenth of a degree at most.
    np.testing.assert_allclose(after[:, :3], expected[:, :3], atol=0.1)
    np.testing.assert_allclose(after[:, 3:-2], expected[:, 3:-2], atol=4e-3)


def test_no_pose_holds_the_head_still():
    still = strengthen(MOTION, COLLINS, pose=0)
    rigid = [27, 28, 29, 30, 31, 33, 35, 36, 39, 42, 45]
    spread = still[:, rigid].std(axis=0).max()
    assert MOTION[:, rigid].std(axis=0).max() > 5 * spread
    np.testing.assert_allclose(read_motion(still, COLLINS)[:, :3], 0, atol=0.15)


def test_eyes_move_the_gaze_too():
    before = read_motion(WITH_PUPILS, REFERENCE)[:, -2:]
    after = read_motion(strengthen(WITH_PUPILS, REFERENCE, eyes=0.0), REFERENCE)[:, -2:]
    assert np.abs(before).max() > 0.1
    np.testing.assert_allclose(after, 0, atol=1e-4)


@pytest.mark.parametrize("value", [-0.1, 1.6, np.nan, np.inf])
def test_strengths_out_of_range_name_the_flag(value):
    with pytest.raises(InputError, match=r"--lips: expected a strength from 0 to 1.5"):
        checked_strengths(pose=1.0, lips=value)
    with pytest.raises(InputError, match="--lips"):
        strengthen(MOTION, COLLINS, lips=value)
