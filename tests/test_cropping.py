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


def test_border_is_replicated():
    image = np.arange(3 * 4 * 3, dtype=np.uint8).reshape(3, 4, 3)
    out = cropping.crop(image, CropBox(-2, -1, 7), 7)
    assert out.shape == (7, 7, 3)
    np.testing.assert_array_equal(out[0, 0], image[0, 0])
    np.testing.assert_array_equal(out[6, 6], image[2, 3])
    np.testing.assert_array_equal(out[1:4, 2:6], image)


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
