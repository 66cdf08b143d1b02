"""Covered, blurred and cut photos are told from open mouths, shut lids and turned heads."""

import cv2
import numpy as np
import pytest

from tests.face_points import COLLINS
from tests.moving_portrait import PORTRAIT
from tf_talkinghead.faces.geometry import expressed, turned
from tf_talkinghead.faces.warping import warp
from tf_talkinghead.personalization.photo_faults import covered_share, fit_photos
from tf_talkinghead.personalization.photos import choose_photos

POSES = np.float32(
    [
        COLLINS,
        turned(COLLINS, yaw=8.0),
        turned(COLLINS, yaw=-8.0, pitch=4.0),
        expressed(COLLINS, 1.0, 0.0, 0.0),
        expressed(COLLINS, 0.0, 1.0, 0.3),
        turned(COLLINS, pitch=-6.0),
    ]
)


@pytest.fixture
def photos():
    image = cv2.resize(PORTRAIT, (128, 128), interpolation=cv2.INTER_AREA)
    return np.stack([warp(image, COLLINS, pose) for pose in POSES])


def hand_before_the_mouth(photo, points):
    """A fist of one colour over mouth and chin."""
    middle = (points[48:68].mean(0) * 128).astype(int)
    covered = photo.copy()
    cv2.ellipse(covered, middle.tolist(), (28, 20), 20.0, 0, 360, (90, 60, 170), -1)
    return covered


def test_expressions_and_turns_are_no_faults(photos):
    assert covered_share(photos, POSES).max() < 0.1
    assert fit_photos(photos, POSES).all()


def test_a_covered_photo_is_left_out(photos):
    photos[2] = hand_before_the_mouth(photos[2], POSES[2])
    assert fit_photos(photos, POSES).tolist() == [True, True, False, True, True, True]
    chosen = choose_photos(photos, POSES, most=32)
    np.testing.assert_array_equal(chosen.images, np.delete(photos, 2, 0))


def test_of_photos_that_hardly_differ_the_sharpest_is_chosen(photos):
    softer = cv2.GaussianBlur(photos[1], (0, 0), 0.7)
    nearly = POSES[1] + np.float32([0.004, 0.0])  # moved by a pixel
    images = np.concatenate([photos, softer[None]])
    chosen = choose_photos(images, np.concatenate([POSES, nearly[None]]), most=32)
    np.testing.assert_array_equal(chosen.images, photos)
    images[[1, 6]] = images[[6, 1]]
    chosen = choose_photos(images, np.concatenate([POSES, nearly[None]]), most=32)
    np.testing.assert_array_equal(chosen.images, np.delete(images, 1, 0))


def test_a_blurred_photo_is_left_out(photos):
    photos[4] = cv2.GaussianBlur(photos[4], (0, 0), 3.0)
    assert np.flatnonzero(~fit_photos(photos, POSES)).tolist() == [4]


def test_a_cut_face_is_left_out_even_of_two(photos):
    moved = np.stack([POSES[0], POSES[1] - np.float32([0.35, 0.0])])
    assert fit_photos(photos[:2], moved).tolist() == [True, False]


def test_a_single_photo_is_taken_as_it_is(photos):
    assert fit_photos(photos[:1], POSES[:1] - 0.5).tolist() == [True]


def test_half_of_the_photos_stay(photos):
    for i in range(4):
        photos[i] = np.random.default_rng(i).integers(0, 255, photos[i].shape)
    assert fit_photos(photos, POSES).sum() >= 3
