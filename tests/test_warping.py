"""Piecewise-affine warp: by hand, against scipy over the same mesh, and off the edge."""

import cv2
import numpy as np
import pytest
from scipy.interpolate import LinearNDInterpolator

from tests.face_points import COLLINS
from tf_talkinghead.faces.geometry import turned
from tf_talkinghead.faces.warping import warp


def ramp(size=200):
    """Red is x and green is y in pixels, so a pixel tells where it came from."""
    columns, rows = np.meshgrid(np.arange(size), np.arange(size))
    return np.stack([columns, rows, np.zeros_like(rows)], -1).astype(np.uint8)


def at(image, x, y):
    """The position, in fractions, that the pixel at fraction (x, y) of a warped ramp came from."""
    size = len(image)
    return (image[int(y * size), int(x * size), :2].astype(float) + 0.5) / size


def test_between_a_moved_point_and_the_border_the_shift_falls_linearly():
    """The centre moves by 0.1 to the right; (0, 0.5) and (1, 0.5) are fixed border points."""
    warped = warp(ramp(), np.array([[0.5, 0.5]]), np.array([[0.6, 0.5]]))
    for place, source in ((0.6, 0.5), (0.8, 0.75), (0.9, 0.875), (0.3, 0.25), (0.15, 0.125)):
        assert at(warped, place, 0.5) == pytest.approx([source, 0.5], abs=0.008)
    assert np.abs(warped[[0, -1]].astype(int) - ramp()[[0, -1]]).max() <= 1


def test_equals_linear_interpolation_over_the_same_triangles(portrait):
    """scipy finds each pixel's own triangle; pixels on an edge may get the next one's map here."""
    image = cv2.resize(portrait, (128, 128), interpolation=cv2.INTER_AREA)
    target = turned(COLLINS, yaw=10, pitch=-4) + 0.01
    sides = np.array([(x, y) for x in range(5) for y in range(5) if {x, y} & {0, 4}]) / 4
    source, goal = (128 * np.concatenate([p, sides]) - 0.5 for p in (COLLINS, target))
    pixels = np.stack(np.meshgrid(np.arange(128.0), np.arange(128.0)), -1)
    origin = np.float32(LinearNDInterpolator(goal, source)(pixels.reshape(-1, 2)))
    expected = cv2.remap(image, origin.reshape(128, 128, 2), None, cv2.INTER_LINEAR)
    difference = np.abs(warp(image, COLLINS, target).astype(int) - expected).max(-1)
    assert (difference > 1).mean() < 0.03 and difference.mean() < 0.2
    assert (
        np.abs(image.astype(int) - expected).max(-1).mean() > 20
    )  # the warp itself is no small one


def test_a_marked_point_is_taken_along(portrait):
    marked = np.zeros((256, 256, 3), np.uint8)
    x, y = np.floor(COLLINS[30] * 256).astype(int)  # the tip of the nose
    marked[y - 1 : y + 2, x - 1 : x + 2] = 255
    target = COLLINS.copy()
    target[27:36] += [0.05, 0.03]
    mass = warp(marked, COLLINS, target)[..., 0].astype(float)
    rows, columns = np.mgrid[:256, :256]
    centre = np.array([(columns * mass).sum(), (rows * mass).sum()]) / mass.sum()
    assert centre == pytest.approx([x + 0.05 * 256, y + 0.03 * 256], abs=1)


@pytest.mark.parametrize("target", [COLLINS + 0.6, COLLINS - [0.5, 0.4], np.full((68, 2), 0.5)])
def test_points_outside_or_on_one_another_are_survived(portrait, target):
    warped = warp(portrait[:64, :64], COLLINS, target)
    assert warped.shape == (64, 64, 3) and warped.dtype == np.uint8


def test_points_outside_leave_the_rest_where_it_is():
    """All targets beyond the border: nothing is left to move."""
    assert np.abs(warp(ramp(), COLLINS, COLLINS + 2).astype(int) - ramp()).max() <= 1
