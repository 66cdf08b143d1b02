"""Crops: the square's arithmetic by hand, borders, and landmarks that stay on their pixels."""

import numpy as np
import pytest

from tf_talkinghead.config import PreparationConfig
from tf_talkinghead.faces import cropping
from tf_talkinghead.faces.cropping import CropBox


def _clip(left, top, width, height, count=3):
    points = np.zeros((count, 68, 2), np.float32)
    points[:, 0], points[:, 1:] = (left, top), (left + width, top + height)
    return points


def test_box_by_hand():
    config = PreparationConfig(crop_margin=0.5, crop_rise=0.1)
    box = cropping.crop_box(_clip(40, 60, 80, 100), config)
    # side 2 x 100; centre (80.5, 110.5 - 10)
    assert (
        box.side == 200 and abs(box.x - (80.5 - 100)) <= 0.5 and abs(box.y - (100.5 - 100)) <= 0.5
    )


def test_box_grows_with_a_moving_head():
    still = _clip(40, 60, 80, 100, 20)
    moving = still + np.linspace(0, 300, 20, dtype=np.float32)[:, None, None] * np.float32([1, 0])
    config = PreparationConfig()
    box = cropping.crop_box(moving, config)
    assert box.side > cropping.crop_box(still, config).side
    fractions = cropping.to_fractions(moving[1:-1], box)
    assert fractions.min() > 0.05 and fractions.max() < 0.95


def test_crop_inside_is_the_picture_itself():
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    np.testing.assert_array_equal(cropping.crop(image, CropBox(7, 5, 20), 20), image[5:25, 7:27])


def test_beyond_the_border_the_outermost_pixels_go_on_and_are_blurred():
    """Stripes 4 px wide end at the border: inside they stay, far outside they are their mean."""
    stripes = np.zeros((100, 100, 3), np.uint8)
    stripes[:, (np.arange(100) // 4) % 2 == 1] = 200
    out = cropping.crop(stripes, CropBox(0, -40, 100), 100)
    np.testing.assert_array_equal(out[40:], stripes[:60])
    assert np.abs(np.int64(out[39]) - stripes[0]).max() < 80  # they still go on here
    assert np.abs(np.int64(out[:25, 10:90]) - 100).max() < 12
    plain = np.full((30, 30, 3), (10, 90, 200), np.uint8)
    assert np.ptp(cropping.crop(plain, CropBox(-9, 5, 40), 40), axis=(0, 1)).max() == 0


def test_box_outside_is_refused():
    with pytest.raises(ValueError, match="outside"):
        cropping.crop(np.zeros((4, 4, 3), np.uint8), CropBox(10, 0, 3), 3)


def test_landmarks_stay_on_their_pixel():
    image = np.zeros((64, 64, 3), np.uint8)
    image[30, 20] = 255
    box = CropBox(10, 12, 32)
    out = cropping.crop(image, box, 128)
    fraction = cropping.to_fractions(np.float32([[20, 30]]), box)
    rows, columns = np.nonzero(out[..., 0] > 200)
    np.testing.assert_allclose(
        fraction[0] * 128, [columns.mean() + 0.5, rows.mean() + 0.5], atol=0.51
    )
