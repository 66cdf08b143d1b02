"""Morphing: offsets found by optical flow, and blends in which things are seen once."""

import cv2
import numpy as np
import tensorflow as tf

from tests.face_points import COLLINS
from tf_talkinghead.models import guidance, morphing
from tf_talkinghead.personalization.correspondence import GRID, correspondence
from tf_talkinghead.personalization.photos import Photos

FACE = 0.5 * COLLINS + (0.25, 0.4)  # small and low in the picture, so that there is room above


def photo(hat, size=256):
    """A picture uint8 [size, size, 3] with a patterned hat whose middle is at `hat`, fractions."""
    noise = np.random.default_rng(0).uniform(0, 255, (24, 24)).astype(np.float32)
    pattern = cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)
    x, y = (guidance.grid(size) - np.float32(hat) + 0.5).transpose(2, 0, 1) * size - 0.5
    moved = cv2.remap(pattern, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    far = np.linalg.norm(guidance.grid(size) - np.float32(hat), axis=-1)
    image = np.where(far < 0.16, moved, 128.0)
    return np.clip(image, 0, 255).astype(np.uint8)[..., None].repeat(3, -1)


def at(field, place):
    """`field` [g, g, 2] at the cell of `place`."""
    column, row = (np.array(place) * len(field)).astype(int)
    return np.float32(field[row, column])


def test_offsets_say_where_a_hat_is_in_the_other_photo():
    hats = (0.45, 0.22), (0.5, 0.25)
    offsets = correspondence(np.stack([photo(hat) for hat in hats]), np.float32([FACE, FACE]))
    assert offsets.shape == (2, 2, GRID, GRID, 2) and offsets.dtype == np.float16
    np.testing.assert_allclose(at(offsets[0, 1], hats[0]), (0.05, 0.03), atol=0.006)
    np.testing.assert_allclose(at(offsets[1, 0], hats[1]), (-0.05, -0.03), atol=0.006)
    assert not offsets[[0, 1], [0, 1]].any()
    assert np.abs(at(offsets[0, 1], FACE.mean(0))).max() < 0.002  # landmarks say where the face is


def test_offsets_are_bounded_and_finite_for_photos_that_have_nothing_in_common():
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)
    for landmarks in ([COLLINS, COLLINS], [np.full((68, 2), 0.5), COLLINS * 6 - 3]):
        offsets = correspondence(images, np.float32(landmarks))
        assert np.isfinite(offsets).all() and np.abs(offsets).max() <= 0.0601


def test_a_morphed_blend_shows_a_hat_once_and_halfway():
    hats = (0.45, 0.22), (0.5, 0.25)
    images = np.stack([photo(hat) for hat in hats])
    photos = Photos(images, np.float32([FACE, FACE]), np.full((2, 2, 2), np.nan, np.float32))
    shares = tf.constant([[0.5, 0.5]])
    flow = tf.constant(np.broadcast_to(guidance.grid(64), [1, 2, 64, 64, 2]))
    own = morphing.offsets_between(tf.constant(photos.offsets), tf.constant([[0, 1]]))
    expected = photo(np.mean(hats, 0)).astype(np.float32)
    errors = []
    for places in (flow, morphing.morphed(flow, shares, own)):
        parts = [
            guidance.sample(images, tf.constant([k]), tf.image.resize(places[:, k], [256, 256]))[0]
            for k in (0, 1)
        ]
        errors.append(np.abs(np.mean(parts, 0) - expected)[:100].mean())
    assert errors[1] < 0.35 * errors[0]


def test_morphing_by_hand():
    """A thing 0.04 to the right in photo 1 lies, at shares of 3/4 and 1/4, 0.01 to the right."""
    offsets = np.zeros((1, 2, 2, 8, 8, 2), np.float16)
    offsets[0, 0, 1, ..., 0], offsets[0, 1, 0, ..., 0] = 0.04, -0.04
    flow = np.broadcast_to(guidance.grid(16), [1, 2, 16, 16, 2])
    got = morphing.morphed(tf.constant(flow), tf.constant([[0.75, 0.25]]), tf.constant(offsets))
    np.testing.assert_allclose(
        got[0, 0] - flow[0, 0], np.tile([-0.01, 0.0], (16, 16, 1)), atol=1e-4
    )
    np.testing.assert_allclose(got[0, 1] - flow[0, 1], np.tile([0.03, 0.0], (16, 16, 1)), atol=1e-4)


def test_offsets_between_chosen_photos():
    offsets = np.random.default_rng(0).normal(size=(3, 4, 4, 2, 2, 2)).astype(np.float32)
    rows = np.array([[3, 1], [0, 0], [2, 3]])
    of_each = morphing.offsets_between(tf.constant(offsets), tf.constant(rows)).numpy()
    of_one = morphing.offsets_between(tf.constant(offsets[1]), tf.constant(rows)).numpy()
    for b, own in enumerate(rows):
        np.testing.assert_array_equal(of_each[b], offsets[b][np.ix_(own, own)])
        np.testing.assert_array_equal(of_one[b], offsets[1][np.ix_(own, own)])


def test_fewer_photos_keep_the_offsets_between_them():
    images = np.stack([photo((x, 0.22)) for x in (0.45, 0.5, 0.55)])
    photos = Photos(images, np.float32([FACE] * 3), np.full((3, 2, 2), np.nan, np.float32))
    fewer = photos.chosen([2, 0])
    np.testing.assert_array_equal(fewer.offsets[0, 1], photos.offsets[2, 0])
    np.testing.assert_array_equal(fewer.images, images[[2, 0]])
