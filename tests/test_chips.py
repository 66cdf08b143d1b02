"""Face chips: against dlib's `get_face_chip`, and against a similarity solved without dlib."""

import cv2
import dlib
import numpy as np
import pytest

from tests.dlib_reference import detection, fractions, portrait_variants
from tests.face_points import COLLINS
from tf_talkinghead.errors import InputError
from tf_talkinghead.faces import chips


def least_squares_chip(image, landmarks):
    """The chip without dlib: a similarity by `lstsq`, sampled by OpenCV. uint8 [150,150,3]."""
    mean_face = (chips.CHIP_PADDING + chips.MEAN_FACE) / (1 + 2 * chips.CHIP_PADDING) * 150
    target = landmarks[list(chips.ALIGNED)] * image.shape[1::-1] - 0.5
    x, y = mean_face.T
    one, zero = np.ones_like(x), np.zeros_like(x)
    # Rows of [a, b, right, down]: u = a x - b y + right, v = b x + a y + down.
    system = np.concatenate([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
    a, b, right, down = np.linalg.lstsq(system, target.T.reshape(-1), rcond=None)[0]
    scale = np.hypot(a, b)
    # dlib's box is a pixel narrower than the chip's square, and the outermost samples lie on it.
    steps = (np.arange(150) / 149 - 0.5) * (150 - 1 / scale) + 75
    x, y = np.meshgrid(steps, steps)
    where = np.stack([a * x - b * y + right, b * x + a * y + down], -1).astype(np.float32)
    return cv2.remap(image, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


@pytest.mark.parametrize("size", [32, 64, 128, 256])
def test_chips_equal_a_least_squares_similarity(portrait, size):
    """Landmarks with fractions of a pixel, as crops have them; larger faces dlib halves first."""
    image = cv2.resize(portrait[40:216, 136:312], (size, size), interpolation=cv2.INTER_AREA)
    for shift in (0, 0.003, -0.007):
        points = COLLINS + np.float32([shift, shift / 2])
        found = chips.face_chips(image[None], points[None])[0].astype(float)
        expected = least_squares_chip(image, points)
        inside = (found > 0).any(-1) & (expected > 0).any(-1)
        different = np.abs(found - expected)[inside]
        assert inside.mean() > 0.9
        # dlib truncates where OpenCV rounds, and OpenCV's weights are multiples of 1/32.
        assert different.mean() < 1 and np.percentile(different, 99) <= 4


def test_chips_equal_dlibs_own(portrait):
    """Whole-pixel landmarks, which is what dlib takes; up to 1,100 px."""
    for image in portrait_variants(portrait):
        found = detection(image)
        ours = chips.face_chips(image[None], fractions(found, image)[None])[0]
        theirs = dlib.get_face_chip(image, found, 150, 0.25)
        different = np.abs(ours.astype(int) - theirs)
        assert different.max() <= 1 and (different > 0).mean() < 1e-3


def test_a_view_of_a_larger_array_is_cut_as_its_copy(portrait):
    view = portrait[40:216, 136:312][:, ::-1]
    points = COLLINS * [-1, 1] + [1, 0]
    assert not view.flags.c_contiguous
    copied = chips.face_chips(view.copy()[None], points[None])
    np.testing.assert_array_equal(chips.face_chips(view[None], points[None]), copied)


def test_a_face_over_the_edge_is_black_outside(portrait):
    image = portrait[:200, :200].copy()
    points = fractions(detection(portrait), portrait) * 512 / 200
    chip = chips.face_chips(image[None], points[None])[0]
    assert (chip[:, -5:] == 0).all() and chip[75, 40].max() > 0


@pytest.mark.parametrize(
    "points, said",
    [
        (np.zeros((1, 5, 2)), r"\[B,68,2\]"),
        (np.full((1, 68, 2), np.nan), "finite"),
        (COLLINS[None] + 2, r"outside 0\.\.1"),
    ],
)
def test_landmarks_of_no_use_are_refused(points, said):
    with pytest.raises(InputError, match=said):
        chips.face_chips(np.zeros((1, 64, 64, 3), np.uint8), points)
