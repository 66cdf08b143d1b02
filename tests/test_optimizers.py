"""The optimizers against Keras and against numbers worked out by hand; the reduction contract on
replicas.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_talkinghead.training.optimizers import Adam, LazyAdam, OptimizedNetworks


def slices(values, indices, rows):
    return tf.IndexedSlices(
        tf.constant(values, tf.float32), tf.constant(indices), tf.constant([rows, len(values[0])])
    )


def optimized(variable, optimizer):
    return OptimizedNetworks([], [([variable], optimizer)])


def lazy(matrix, **settings):
    optimizer = LazyAdam(0.1, **settings)
    return optimized(matrix, optimizer), optimizer


@pytest.mark.parametrize("beta_1", [0.0, 0.5])
def test_adam_is_keras_adam(beta_1):
    rng = np.random.default_rng(0)
    start = rng.normal(size=(5, 3)).astype(np.float32)
    ours, theirs = tf.Variable(start), keras.Variable(start)
    networks = optimized(ours, Adam(0.01, beta_1, 0.999, 1e-5))
    reference = keras.optimizers.Adam(0.01, beta_1=beta_1, beta_2=0.999, epsilon=1e-5)
    for _ in range(5):
        gradient = tf.constant(rng.normal(size=(5, 3)), tf.float32)
        norm = networks.update([gradient])
        reference.apply([gradient], [theirs])
        np.testing.assert_allclose(norm, np.linalg.norm(gradient), rtol=1e-6)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)
    assert np.abs(ours.numpy() - start).max() > 0.01


def test_lazy_adam_is_dense_adam_over_sparse_touches():
    """200 updates of 3 rows of 50: some rows are touched often, some once, the last never."""
    rng = np.random.default_rng(1)
    start = rng.normal(size=(50, 4)).astype(np.float32)
    sparse, dense = tf.Variable(start), tf.Variable(start)
    by_row, by_all = optimized(sparse, LazyAdam(1e-3)), optimized(dense, Adam(1e-3))
    places = np.minimum(rng.geometric(0.08, (200, 3)) - 1, 48)
    for rows in places:
        gradient = rng.normal(size=(3, 4)).astype(np.float32)
        scattered = np.zeros_like(start)
        np.add.at(scattered, rows, gradient)
        norms = [
            by_row.update([slices(gradient, rows, 50)]),
            by_all.update([tf.constant(scattered)]),
        ]
        np.testing.assert_allclose(*norms, rtol=1e-5)
    counts = np.bincount(places.ravel(), minlength=50)
    assert counts.max() > 20 and (counts[1:] == 1).any() and counts[49] == 0
    np.testing.assert_allclose(sparse, dense, rtol=0, atol=5e-6)
    # A row first touched after a hundred updates moves by far more than the rate, as in dense Adam.
    late = [row for row in range(50) if counts[row] == 1 and row in places[100:]]
    moved = np.abs(sparse.numpy() - start)[late].max()
    assert len(late) and moved > 5e-3


def test_lazy_adam_two_touches_by_hand():
    matrix = tf.Variable(np.zeros((3, 2), np.float32))
    networks, optimizer = lazy(matrix, beta_2=0.5, epsilon=0.0)
    networks.update([slices([[2.0, -4.0]], [1], 3)])
    # v = 0.5 g^2, correction sqrt(1 - 0.5): the step is rate * sign(g).
    np.testing.assert_allclose(matrix, [[0, 0], [-0.1, 0.1], [0, 0]], atol=1e-6)
    networks.update([slices([[1.0, 1.0]], [0], 3)])
    networks.update([slices([[2.0, 2.0]], [1], 3)])
    # Row 1 at t = 3, last touched at 1: v = 0.5^2 * (2, 8) + 0.5 * 4, correction sqrt(1 - 0.5^3).
    v = np.array([0.25 * 2 + 2, 0.25 * 8 + 2])
    step = 0.1 * np.sqrt(1 - 0.125) * 2 / np.sqrt(v)
    np.testing.assert_allclose(optimizer.v[1], v, rtol=1e-6)
    np.testing.assert_allclose(matrix[1], [-0.1, 0.1] - step, rtol=1e-5)
    np.testing.assert_array_equal(optimizer.last_update, [2, 3, 0])
    assert optimizer.count == 3


def test_lazy_adam_sums_a_row_that_comes_twice():
    once, twice = (tf.Variable(np.zeros((3, 2), np.float32)) for _ in range(2))
    first, one = lazy(once)
    second, two = lazy(twice)
    first.update([slices([[3.0, 1.0]], [2], 3)])
    second.update([slices([[1.0, 2.0], [2.0, -1.0]], [2, 2], 3)])
    np.testing.assert_array_equal(once, twice)
    np.testing.assert_array_equal(one.v, two.v)
    np.testing.assert_array_equal(two.last_update, [0, 0, 1])


def test_lazy_adam_leaves_untouched_rows_alone():
    rng = np.random.default_rng(2)
    matrix = tf.Variable(rng.normal(size=(5, 2)).astype(np.float32))
    networks, optimizer = lazy(matrix)
    networks.update([slices([[1.0, 1.0], [2.0, 2.0]], [0, 3], 5)])
    before, v = matrix.numpy(), optimizer.v.numpy()
    networks.update([slices([[5.0, 5.0]], [3], 5)])
    kept = [0, 1, 2, 4]
    np.testing.assert_array_equal(matrix.numpy()[kept], before[kept])
    np.testing.assert_array_equal(optimizer.v.numpy()[kept], v[kept])
    np.testing.assert_array_equal(optimizer.last_update, [1, 0, 0, 2, 0])


def test_a_set_rate_is_used_and_known_without_reading_the_device(monkeypatch):
    variable = tf.Variable([1.0])
    optimizer = Adam(0.1, epsilon=0.0)
    networks = optimized(variable, optimizer)

    def read(_):
        raise AssertionError("the device was read")

    with monkeypatch.context() as context:
        context.setattr(type(optimizer.rate), "numpy", read)
        optimizer.set_rate(0.25)
        optimizer.set_rate(0.25)
        assert optimizer.current_rate == 0.25
    networks.update([tf.constant([3.0])])
    np.testing.assert_allclose(variable, [0.75], atol=1e-6)


def test_a_variable_without_gradient_stays():
    moved, still = tf.Variable([1.0]), tf.Variable([1.0])
    networks = OptimizedNetworks([], [([moved, still], Adam(0.1))])
    networks.update([tf.constant([1.0]), None])
    assert still.numpy() == 1.0 and moved.numpy() < 1.0
