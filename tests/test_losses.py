"""Each loss term with numbers worked by hand, and which of its arguments it may move."""

import numpy as np
import pytest
import tensorflow as tf

from tests.face_points import COLLINS
from tf_talkinghead import losses


def image(*rows):
    """[1, H, W, 1] from rows of numbers."""
    return tf.constant(rows, tf.float32)[None, ..., None]


def test_l1_terms_are_means_over_elements_summed_over_layers():
    real = [tf.constant([[0.0, 2.0], [4.0, 6.0]]), tf.constant([[1.0], [1.0]])]
    fake = [tf.constant([[1.0, 2.0], [4.0, 3.0]]), tf.constant([[0.0], [4.0]])]
    # layer 1: (1 + 0 + 0 + 3) / 4 = 1; layer 2: (1 + 3) / 2 = 2
    assert float(losses.content(real, fake)) == 3.0
    assert float(losses.feature_matching(real, fake)) == 3.0


def test_layers_count_the_same_whatever_their_size():
    """A mean over elements, not a sum: ten times the pixels of the same
    difference cost the same.
    """
    small, large = tf.zeros([1, 2, 2, 3]), tf.zeros([1, 20, 20, 3])
    assert (
        float(losses.content([small], [small + 0.5]))
        == float(losses.content([large], [large + 0.5]))
        == 0.5
    )


def test_adversarial_is_minus_the_mean_score():
    assert float(losses.adversarial(tf.constant([1.0, -4.0, 0.0]))) == 1.0


@pytest.mark.parametrize(
    ("real", "fake", "expected"),
    [
        ([2.0], [-2.0], 0.0),  # both beyond their margins
        ([0.5], [-0.25], 0.5 + 0.75),  # both inside
        ([-1.0], [3.0], 2.0 + 4.0),  # both on the wrong side
        ([2.0, -1.0], [-2.0, 3.0], 3.0),  # mean of 0 and 6
    ],
)
def test_hinge(real, fake, expected):
    assert float(losses.discriminator_hinge(tf.constant(real), tf.constant(fake))) == expected


def test_hinge_gradient_stops_beyond_the_margins():
    real, fake = tf.Variable([2.0, 0.5]), tf.Variable([-2.0, 0.5])
    with tf.GradientTape() as tape:
        value = losses.discriminator_hinge(real, fake)
    for gradient, expected in zip(
        tape.gradient(value, [real, fake]), ([0.0, -0.5], [0.0, 0.5]), strict=True
    ):
        np.testing.assert_array_equal(gradient, expected)


def test_match_is_a_mean_over_n_and_moves_both():
    e_hat, W_i = tf.Variable([[1.0, 2.0], [3.0, 4.0]]), tf.Variable([[1.0, 0.0], [0.0, 5.0]])
    with tf.GradientTape() as tape:
        value = losses.match(e_hat, W_i)
    assert float(value) == (0 + 2 + 3 + 1) / 4
    of_e, of_W = tape.gradient(value, [e_hat, W_i])
    np.testing.assert_array_equal(of_e, [[0, 0.25], [0.25, -0.25]])
    np.testing.assert_array_equal(of_W, -of_e)


def test_pixel():
    assert float(losses.pixel(image([0, 1], [1, -1]), image([1, 1], [0, 1]))) == (1 + 0 + 1 + 2) / 4


def test_gradient_compares_differences_both_ways():
    x, x_hat = image([0, 1, 0], [0, 0, 0]), image([0, 0, 0], [0, 0, 0])
    # horizontal: 1, -1, 0, 0 -> 2/4; vertical: 0, -1, 0 -> 1/3
    assert float(losses.gradient(x, x_hat)) == pytest.approx(2 / 4 + 1 / 3)
    # an offset has no differences
    assert float(losses.gradient(x, x + 0.7)) == pytest.approx(0, abs=1e-6)


def test_structure_is_one_minus_ssim():
    random = np.random.default_rng(0)
    x = random.uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    assert float(losses.structure(x, x)) == pytest.approx(0, abs=1e-5)
    # flat pictures of a and b: SSIM is (2ab + c) / (a^2 + b^2 + c) with c = (0.01 L)^2 and L
    # = 2, that of contrast 1
    a, b, c = 0.5, 0.25, 0.02**2
    flat = [tf.fill([1, 32, 32, 3], value) for value in (a, b)]
    assert float(losses.structure(*flat)) == pytest.approx(
        1 - (2 * a * b + c) / (a * a + b * b + c), abs=1e-4
    )


def test_batches_are_averaged():
    """Twice the batch, each row twice: nothing changes, so micro-batches and replicas add up."""
    random = np.random.default_rng(0)
    x, x_hat = (random.uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32) for _ in range(2))
    for term in (losses.pixel, losses.gradient, losses.structure, losses.l1, losses.match):
        halves = [float(term(x[i : i + 1], x_hat[i : i + 1])) for i in range(2)]
        assert float(term(x, x_hat)) == pytest.approx(np.mean(halves), rel=1e-5)
    scores = tf.constant([0.3, -0.8])
    for term in (losses.adversarial, lambda s: losses.discriminator_hinge(s, -s)):
        assert float(term(scores)) == pytest.approx(
            np.mean([float(term(scores[i : i + 1])) for i in range(2)])
        )


@pytest.mark.parametrize("term", [losses.content, losses.feature_matching])
def test_no_gradient_reaches_real_activations(term):
    real, fake = tf.Variable([[1.0, 2.0]]), tf.Variable([[2.0, 0.0]])
    with tf.GradientTape() as tape:
        value = term([real], [fake])
    of_real, of_fake = tape.gradient(value, [real, fake])
    assert of_real is None
    np.testing.assert_array_equal(of_fake, [[0.5, -0.5]])


def test_lists_of_different_length_are_an_error():
    with pytest.raises(ValueError):
        losses.feature_matching([tf.zeros([1])], [tf.zeros([1]), tf.zeros([1])])


def test_sums_run_in_float32():
    """2^16 differences of 1/256 in bfloat16: a sum of eight bits would stop growing."""
    a, b = tf.zeros([65536], tf.bfloat16), tf.fill([65536], tf.constant(1 / 256, tf.bfloat16))
    assert float(losses.l1(a, b)) == pytest.approx(1 / 256)
    assert losses.adversarial(tf.zeros([2], tf.bfloat16)).dtype == tf.float32


def test_face_boxes_are_square_around_the_landmarks():
    points = np.zeros((1, 68, 2), np.float32) + 0.5
    points[0, 0], points[0, 1] = (0.3, 0.4), (0.7, 0.6)  # 0.4 wide, 0.2 high, centre (0.5, 0.5)
    half = 0.4 * (0.5 + 0.1)
    top_left, bottom_right = 0.5 - half, 0.5 + half
    np.testing.assert_allclose(
        losses.face_boxes(points, 0.1),
        [[top_left, top_left, bottom_right, bottom_right]],
        atol=1e-6,
    )
    points[0, 1] = (0.7, 1.0)  # now 0.6 high, centre (0.5, 0.7)
    np.testing.assert_allclose(losses.face_boxes(points, 0.0), [[0.4, 0.2, 1.0, 0.8]], atol=1e-6)


def test_crops_are_what_lies_in_the_box():
    """A picture that is its own coordinates: pixel (i, j) has the fractions of its
    centre, and so must a crop's.
    """
    ticks = (np.arange(64) + 0.5) / 64
    x, y = np.meshgrid(ticks, ticks)
    picture = np.stack([x, y, np.ones_like(x)], axis=-1)[None].astype(np.float32)
    crop = losses.crop_faces(picture, tf.constant([[0.25, 0.5, 0.5, 0.875]]), 10).numpy()[0]
    wanted = (np.arange(10) + 0.5) / 10
    np.testing.assert_allclose(crop[0, :, 0], 0.5 + 0.375 * wanted, atol=1e-5)
    np.testing.assert_allclose(crop[:, 0, 1], 0.25 + 0.25 * wanted, atol=1e-5)
    np.testing.assert_allclose(crop[..., 2], 1, atol=1e-5)
    whole = losses.crop_faces(picture, tf.constant([[0.0, 0.0, 1.0, 1.0]]), 64)
    np.testing.assert_allclose(whole, picture, atol=1e-5)


def test_crops_of_a_real_face_hold_its_landmarks():
    box = losses.face_boxes(COLLINS[None], 0.1).numpy()[0]
    assert (COLLINS >= box[[1, 0]]).all() and (COLLINS <= box[[3, 2]]).all()
