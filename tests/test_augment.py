"""Variations: landmarks move with their pixels, mirroring relabels, strengths bound the change."""

import dataclasses

import numpy as np
import pytest

from tf_talkinghead.config import AugmentConfig
from tf_talkinghead.data import augment
from tf_talkinghead.faces.geometry import mirrored


def _dots(points, size):
    """Black, with a soft white dot at each point (fractions)."""
    rows, columns = np.mgrid[:size, :size] + 0.5
    image = np.zeros((size, size))
    for x, y in points * size:
        image = np.maximum(image, np.clip(4 - np.hypot(columns - x, rows - y), 0, 1))
    return np.repeat((255 * image).astype(np.uint8)[..., None], 3, -1)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "config", [AugmentConfig(flip=True), AugmentConfig(flip=True, geometry=1.0)]
)
def test_landmarks_stay_on_what_they_mark(seed, config):
    points = np.random.default_rng(9).uniform(0.3, 0.7, (68, 2)).astype(np.float32)
    variation = augment.draw(np.random.default_rng(seed), config)
    moved = variation.landmarks(points)
    image = variation.image(_dots(points, 256)).astype(float)

    def error(right, down):
        return np.abs(image - _dots(moved + np.array([right, down]) / 256, 256)).mean()

    around = [error(right, down) for right, down in ((1, 0), (-1, 0), (0, 1), (0, -1))]
    assert error(0, 0) < min(around)


def test_nothing_asked_nothing_done():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    points = np.random.default_rng(1).random((68, 2), np.float32)
    for seed in range(3):
        variation = augment.draw(np.random.default_rng(seed), AugmentConfig())
        np.testing.assert_array_equal(variation.image(image), image)
        np.testing.assert_array_equal(variation.landmarks(points), points)


def test_mirroring_relabels_left_and_right():
    points = np.zeros((68, 2), np.float32)
    points[:, 0] = np.arange(68) / 100
    flipped = mirrored(points)
    # jaw's ends, brows' outer ends, nose, outer eye corners, mouth corners
    for left, right in (
        (0, 16),
        (17, 26),
        (31, 35),
        (36, 45),
        (39, 42),
        (41, 46),
        (48, 54),
        (60, 64),
        (67, 65),
    ):
        assert flipped[left, 0] == pytest.approx(1 - right / 100) and flipped[
            right, 0
        ] == pytest.approx(1 - left / 100)
    for middle in (8, 27, 30, 33, 51, 57, 62, 66):
        assert flipped[middle, 0] == pytest.approx(1 - middle / 100)
    np.testing.assert_allclose(mirrored(flipped), points, atol=1e-6)


def test_a_mirrored_face_is_found_where_mirroring_says(portrait):
    from tf_talkinghead.faces.crops import default_landmarks

    face = portrait[:300, 80:380]
    points = default_landmarks().detect(face)[0].points
    found = default_landmarks().detect(np.ascontiguousarray(face[:, ::-1]))[0].points
    expected = mirrored((points + 0.5) / 300) * 300 - 0.5
    assert np.linalg.norm(found - expected, axis=1).mean() < 2.5  # pixels; the face is 110 px wide


def test_colour_changes_colour_only():
    grey = np.full((8, 8, 3), 100, np.uint8)
    for seed in range(5):
        variation = augment.draw(np.random.default_rng(seed), AugmentConfig(colour=1.0))
        out = variation.image(grey)
        assert np.ptp(out[0, 0].astype(int)) <= 1  # hue and saturation leave grey grey
        assert (out == out[0, 0]).all() and abs(int(out[0, 0, 0]) - 100) < 0.15 * 255 + 0.3 * 28 + 2
        np.testing.assert_array_equal(variation.landmarks(np.ones((68, 2), np.float32)), 1)


def test_strength_scales_the_change():
    def sizes(strength):
        config = dataclasses.replace(AugmentConfig(), geometry=strength)
        return [
            abs(np.linalg.det(augment.draw(np.random.default_rng(s), config).place[:, :2]) - 1)
            for s in range(50)
        ]

    assert 0 < max(sizes(0.3)) < max(sizes(1.0)) <= np.exp(0.4) - 1


def test_a_map_is_about_pixel_centres():
    image = np.zeros((64, 64, 3), np.uint8)
    image[20, 24] = 255
    twice = augment.Variation(False, np.array([[2, 0, -0.5], [0, 2, -0.5]]), np.eye(3, 4))
    weight = twice.image(image)[..., 0].astype(float)
    rows, columns = np.mgrid[:64, :64] + 0.5
    centre = [(weight * columns).sum() / weight.sum(), (weight * rows).sum() / weight.sum()]
    np.testing.assert_allclose(centre, [2 * 24.5 - 32, 2 * 20.5 - 32], atol=0.05)
