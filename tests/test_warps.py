"""Warped training pairs: pixels follow their landmarks, the border stays, mouths and eyes move."""

import cv2
import numpy as np

from tests.face_points import COLLINS
from tf_talkinghead.faces.geometry import expressed, turned
from tf_talkinghead.faces.motion import eye_opening, mouth_opening
from tf_talkinghead.personalization import warps


def _ramp(size=64):
    """Red is x and green is y, so a pixel tells where it came from (4 levels a pixel)."""
    levels = np.arange(size) * 4
    return np.stack([*np.meshgrid(levels, levels), np.zeros((size, size), int)], -1).astype(
        np.uint8
    )


def test_no_motion_no_change(portrait):
    image = portrait[:256, :256]
    assert np.abs(warps.warp(image, COLLINS, COLLINS).astype(int) - image).max() <= 1


def test_pixels_follow_their_landmarks():
    target = (turned(COLLINS, yaw=8, roll=5) + 0.02).astype(np.float32)
    warped = warps.warp(_ramp(), COLLINS, target).astype(float)
    for index in (8, 27, 30, 33, 36, 45, 48, 54, 57):  # inside the picture, away from folds
        column, row = np.rint(target[index] * 64 - 0.5).astype(int)
        came_from = (warped[row, column, :2] / 4 + 0.5) / 64
        at = (np.array([column, row]) + 0.5) / 64
        moved = came_from - (at + COLLINS[index] - target[index])
        assert np.abs(moved).max() < 0.012, (index, moved)


def test_border_stays():
    warped = warps.warp(_ramp(), COLLINS, turned(COLLINS, yaw=10) + 0.03)
    still = _ramp()
    for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        moved = np.abs(warped[edge].astype(int) - still[edge]).max(-1) / 4  # pixels
        # The outline of the head comes within a pixel of the outermost row there.
        assert moved.mean() < 1 and moved.max() <= 5


def _teeth(size=128):
    """(image, landmarks) of a grey face with red lips and, between the inner lips, white teeth."""
    points = expressed(COLLINS, 0.0, 0.3, 0.0)
    image = np.full((size, size, 3), 120, np.uint8)
    for part, colour in ((slice(48, 60), (200, 60, 60)), (slice(60, 68), (250, 250, 250))):
        cv2.fillPoly(image, [np.rint(points[part] * size - 0.5).astype(np.int32)], colour)
    return image, points


def test_an_opened_mouth_shows_the_teeth_unstretched_and_dark_below():
    image, points = _teeth()
    target = expressed(points, 0.0, 0.9, 0.0)
    opened = warps.open_mouth(warps.warp(image, points, target), image, points, target).astype(int)
    column = int(target[62, 0] * 128)
    gap = opened[int(target[62, 1] * 128) + 2 : int(target[66, 1] * 128) - 1, column]
    white, dark = (gap.min(-1) > 200), (gap.max(-1) < 90)
    teeth = (points[66, 1] - points[62, 1]) * 128
    # As many rows of teeth as were visible, under the upper lip.
    assert abs(white.sum() - teeth) <= 3 and white[: white.sum()].all()
    assert dark.sum() >= len(gap) - white.sum() - 2 and dark[-2:].all()
    outside = (
        cv2.fillPoly(np.zeros((128, 128)), [np.rint(target[48:60] * 128).astype(np.int32)], 1) == 0
    )
    assert np.array_equal(opened[outside], warps.warp(image, points, target)[outside])


def test_a_mouth_that_stays_as_it_is_hardly_changes(portrait):
    image = cv2.resize(portrait[0:256, 96:352], (128, 128), interpolation=cv2.INTER_AREA)
    still = warps.open_mouth(image, image, COLLINS, COLLINS).astype(int)
    assert np.abs(still - image).mean() < 0.1


def test_among_the_pairs_are_shut_eyes_and_open_mouths():
    _, targets = warps.training_pairs(
        _ramp()[None], np.float32(COLLINS)[None], 60, 0, reach=0.5, motion=1.0
    )
    eyes, mouths = (
        eye_opening(targets) / eye_opening(COLLINS),
        mouth_opening(targets) - mouth_opening(COLLINS),
    )
    assert 6 <= (eyes < 0.5).sum() <= 30 and 6 <= (mouths > 0.08).sum() <= 40
    assert (eyes > 0.9).sum() >= 15 and (mouths < 0.02).sum() >= 10  # and as many that do neither


def test_pairs_are_repeatable_varied_and_near_the_source(portrait):
    images = np.stack([portrait[:64, :64], portrait[64:128, :64]])
    landmarks = np.stack([COLLINS, turned(COLLINS, yaw=6)]).astype(np.float32)
    first = warps.training_pairs(images, landmarks, 12, 3, reach=0.5, motion=1.0)
    again = warps.training_pairs(images, landmarks, 12, 3, reach=0.5, motion=1.0)
    assert all(np.array_equal(a, b) for a, b in zip(first, again))
    assert (
        first[0].shape == (12, 64, 64, 3)
        and first[1].shape == (12, 68, 2)
        and first[1].dtype == np.float32
    )
    moved = np.linalg.norm(first[1][:, None] - landmarks[None], axis=-1).mean(-1).min(1)
    assert (moved > 0).all() and moved.max() < 0.08 and len(np.unique(moved.round(6))) > 8


def test_reach_zero_and_no_motion_give_the_images_back():
    images, landmarks = (
        np.stack([_ramp(), _ramp()[::-1]]),
        np.stack([COLLINS, COLLINS + 0.05]).astype(np.float32),
    )
    pairs, targets = warps.training_pairs(images, landmarks, 6, 0, reach=0.0, motion=0.0)
    for pair, target in zip(pairs, targets):
        source = np.abs(landmarks - target).max((1, 2)).argmin()
        assert (
            np.abs(landmarks[source] - target).max() < 1e-6
            and np.abs(pair.astype(int) - images[source]).max() <= 2
        )
