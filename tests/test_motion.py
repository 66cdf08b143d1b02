"""Motion measures on faces whose motion is known."""

import numpy as np
import pytest

from tests.face_points import COLLINS
from tf_talkinghead.faces import motion
from tf_talkinghead.faces.geometry import eye_distance
from tf_talkinghead.faces.landmarks import DlibLandmarks
from tf_talkinghead.metrics import face_mask

FACE = COLLINS.astype(np.float64)
UNIT = eye_distance(FACE)


def talking(openings):
    """The face with its lower inner lip lowered by each of `openings` eye distances."""
    faces = np.repeat(FACE[None], len(openings), 0)
    faces[:, [65, 66, 67], :] = faces[:, [63, 62, 61], :]
    faces[:, [65, 66, 67], 1] += np.asarray(openings)[:, None] * UNIT
    return faces


def test_landmark_error_is_a_share_of_the_eye_distance():
    found = np.stack([FACE + [0.1 * UNIT, 0], FACE, np.full_like(FACE, np.nan)])
    errors = motion.landmark_error(found, np.stack([FACE] * 3))
    assert errors[:2] == pytest.approx([0.1, 0]) and np.isnan(errors[2])


def test_landmarks_are_found_again_on_a_small_crop(portrait):
    crop = portrait[0:256, 96:352]
    model = DlibLandmarks()
    truth = (model.detect(crop)[0].points + 0.5) / 256
    import cv2

    small = cv2.resize(crop, (128, 128), interpolation=cv2.INTER_AREA)
    found = motion.find_landmarks(np.stack([small, np.zeros_like(small)]), model)
    assert motion.landmark_error(found[:1], truth[None])[0] < 0.05
    assert np.isnan(found[1]).all()


def test_mouth_and_eye_opening():
    assert motion.mouth_opening(talking([0, 0.25])) == pytest.approx([0, 0.25])
    shut = FACE.copy()
    shut[[41, 40, 47, 46]] = shut[[37, 38, 43, 44]]
    assert motion.eye_opening(shut) == pytest.approx(0)
    assert 0.2 < motion.eye_opening(FACE) < 0.5


def test_agreement():
    course = np.array([0, 0.1, 0.3, 0.1, 0.0])
    assert motion.agreement(course, course) == pytest.approx(1)
    assert motion.agreement(course * 0, course) == pytest.approx(0)
    assert motion.agreement(-course, course) < 0
    # By hand: variances 0.0024, 0.0006, covariance 0.0012, means 0.1 and 0.05.
    wide = np.array([0.1 - 0.0024**0.5, 0.1 + 0.0024**0.5] * 2)
    assert motion.agreement(wide, wide / 2) == pytest.approx(
        2 * 0.0012 / (0.0024 + 0.0006 + 0.05**2)
    )
    assert motion.agreement([np.nan, *course], [5, *course]) == pytest.approx(1)
    assert motion.agreement([0.2] * 5, [0.2] * 5) is None and motion.agreement([1.0], [2.0]) is None


def test_jitter_is_what_the_driving_motion_does_not_explain():
    driving = np.stack([FACE + [0.01 * i, 0] for i in range(4)])
    steady = np.ones(3, bool)
    assert motion.landmark_jitter(driving + 0.2, driving, steady) == pytest.approx(0)
    shaking = driving.copy()
    shaking[1::2] += [0, 0.05 * UNIT]
    assert motion.landmark_jitter(shaking, driving, steady) == pytest.approx(0.05)
    assert motion.landmark_jitter(shaking, driving, np.zeros(3, bool)) is None
    # Frames that do not follow each other do not count.
    jump = driving.copy()
    jump[2:] += 0.5
    assert motion.landmark_jitter(jump, driving, np.array([True, False, True])) == pytest.approx(0)


def test_flicker_ignores_a_constant_error():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 200, (4, 64, 64, 3)).astype(np.uint8)
    mask = face_mask(np.stack([FACE] * 4), 64)
    steady = np.ones(3, bool)
    assert motion.flicker(truth + np.uint8(30), truth, mask, steady) == 0
    blinking = truth.copy()
    blinking[1::2] += 51
    assert motion.flicker(blinking, truth, mask, steady) == pytest.approx(0.2)
    assert motion.flicker(blinking, truth, mask, np.zeros(3, bool)) is None
