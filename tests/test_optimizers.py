"""The optimizers against Keras and against numbers worked out by hand; the reduction contract on replicas."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_talkinghead.training.optimizers import Adam, LossScale, Player, RowAdam


def slices(values, indices, rows):
    return tf.IndexedSlices(
        tf.constant(values, tf.float32), tf.constant(indices), tf.constant([rows, len(values[0])])
    )


def row_player(matrix, **settings):
    optimizer = RowAdam(0.1, **settings)
    return Player([], [([matrix], optimizer)]), optimizer


@pytest.mark.parametrize("beta_1", [0.0, 0.5])
def test_adam_is_keras_adam(beta_1):
    rng = np.random.default_rng(0)
    start = rng.normal(size=(5, 3)).astype(np.float32)
    ours, theirs = tf.Variable(start), keras.Variable(start)
    player = Player([], [([ours], Adam(0.01, beta_1, 0.999, 1e-5))])
    reference = keras.optimizers.Adam(0.01, beta_1=beta_1, beta_2=0.999, epsilon=1e-5)
    for _ in range(5):
        gradient = tf.constant(rng.normal(size=(5, 3)), tf.float32)
        norm, _ = player.update([gradient])
        reference.apply([gradient], [theirs])
        np.testing.assert_allclose(norm, np.linalg.norm(gradient), rtol=1e-6)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)
    assert np.abs(ours.numpy() - start).max() > 0.01


def test_row_adam_is_dense_adam_when_every_row_is_in_every_batch():
    rng = np.random.default_rng(1)
    start = rng.normal(size=(4, 3)).astype(np.float32)
    rows, dense = tf.Variable(start), tf.Variable(start)
    by_row, _ = row_player(rows)
    by_all = Player([], [([dense], Adam(0.1, 0.0, 0.999, 1e-5))])
    for _ in range(4):
        gradient = rng.normal(size=(4, 3)).astype(np.float32)
        by_row.update([slices(gradient, [0, 1, 2, 3], 4)])
        by_all.update([tf.constant(gradient)])
    np.testing.assert_allclose(rows, dense, rtol=0, atol=1e-5)


def test_row_adam_first_step_by_hand():
    matrix = tf.Variable(np.zeros((3, 2), np.float32))
    player, optimizer = row_player(matrix, beta_2=0.9, epsilon=0.0)
    player.update([slices([[2.0, -4.0]], [1], 3)])
    # v = 0.1 g^2, corrected by 1 - 0.9: g^2; so the step is rate * sign(g)
    np.testing.assert_allclose(matrix, [[0, 0], [-0.1, 0.1], [0, 0]], atol=1e-6)
    np.testing.assert_allclose(optimizer.v[1], [0.4, 1.6], atol=1e-6)
    np.testing.assert_array_equal(optimizer.counts, [0, 1, 0])


def test_row_adam_sums_a_row_that_comes_twice():
    once, twice = (
        tf.Variable(np.zeros((3, 2), np.float32)),
        tf.Variable(np.zeros((3, 2), np.float32)),
    )
    first, one = row_player(once)
    second, two = row_player(twice)
    first.update([slices([[3.0, 1.0]], [2], 3)])
    second.update([slices([[1.0, 2.0], [2.0, -1.0]], [2, 2], 3)])
    np.testing.assert_array_equal(once, twice)
    np.testing.assert_array_equal(one.v, two.v)
    np.testing.assert_array_equal(two.counts, [0, 0, 1])


def test_row_adam_leaves_untouched_rows_alone():
    rng = np.random.default_rng(2)
    matrix = tf.Variable(rng.normal(size=(5, 2)).astype(np.float32))
    player, optimizer = row_player(matrix)
    player.update([slices([[1.0, 1.0], [2.0, 2.0]], [0, 3], 5)])
    before, v = matrix.numpy(), optimizer.v.numpy()
    player.update([slices([[5.0, 5.0]], [3], 5)])
    kept = [0, 1, 2, 4]
    np.testing.assert_array_equal(matrix.numpy()[kept], before[kept])
    np.testing.assert_array_equal(optimizer.v.numpy()[kept], v[kept])
    np.testing.assert_array_equal(optimizer.counts, [1, 0, 0, 2, 0])


def test_scaled_gradients_are_unscaled_and_bad_ones_skipped():
    variable = tf.Variable([1.0, 2.0])
    optimizer = Adam(0.1, 0.0, 0.9, 0.0)
    player, scale = Player([], [([variable], optimizer)]), LossScale(initial=8.0, growth=2)
    norm, finite = player.update([tf.constant([24.0, 32.0])], scale.scale)
    scale.update(finite)
    assert norm.numpy() == 5.0 and finite
    moved = variable.numpy()
    np.testing.assert_allclose(moved, [0.9, 1.9], atol=1e-6)
    _, finite = player.update([tf.constant([np.inf, 1.0])], scale.scale)
    scale.update(finite)
    assert not finite and scale.scale == 4.0 and optimizer.count == 1
    np.testing.assert_array_equal(variable, moved)
    for _ in range(2):  # two good steps in a row: doubled
        scale.update(tf.constant(True))
    assert scale.scale == 8.0


def test_a_variable_without_gradient_stays():
    moved, still = tf.Variable([1.0]), tf.Variable([1.0])
    Player([], [([moved, still], Adam(0.1))]).update([tf.constant([1.0]), None])
    assert still.numpy() == 1.0 and moved.numpy() < 1.0
