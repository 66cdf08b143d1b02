"""Spectral normalisation: against numpy's SVD, its gradient through sigma, and how often it
iterates.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_talkinghead.models.layers import (
    SpectralConv2D,
    SpectralDense,
    converge_spectral_norms,
    leading_vector,
    power_iterate,
    spectral_layers,
)

EPS = 1e-4


def built(layer, inputs, seed=0):
    """`layer` built for `inputs` channels, with an unstructured kernel of its shape."""
    layer.build((None, 8, 8, inputs) if isinstance(layer, SpectralConv2D) else (None, inputs))
    layer.kernel.assign(np.random.default_rng(seed).normal(size=layer.kernel.shape))
    return layer


def matrix(layer):
    return layer.kernel.numpy().reshape(-1, layer.kernel.shape[-1]).astype(np.float64)


LAYERS = {
    "conv3": lambda: built(SpectralConv2D(7, 3), 5),
    "conv1": lambda: built(SpectralConv2D(6, 1, use_bias=False), 4),
    "dense": lambda: built(SpectralDense(9), 6),
    "dense_narrow": lambda: built(SpectralDense(2), 11),
}


@pytest.mark.parametrize("name", LAYERS)
def test_converged_sigma_is_the_largest_singular_value(name):
    layer = LAYERS[name]()
    layer.power_iterate(200)
    np.testing.assert_allclose(layer.sigma(), np.linalg.svd(matrix(layer))[1][0], rtol=1e-5)
    assert np.linalg.norm(layer.u) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_one_iteration_is_the_power_methods(name):
    layer = LAYERS[name]()
    u = layer.u.numpy().astype(np.float64)
    v = matrix(layer) @ u
    v /= np.linalg.norm(v)
    expected = matrix(layer).T @ v
    layer.power_iterate()
    np.testing.assert_allclose(layer.u, expected / np.linalg.norm(expected), atol=1e-6)
    np.testing.assert_allclose(
        layer.sigma(), np.linalg.norm(matrix(layer) @ layer.u.numpy()), rtol=1e-5
    )


def test_convolution_is_a_plain_one_with_the_divided_kernel():
    layer = LAYERS["conv3"]()
    layer.bias.assign(np.arange(7.0))
    layer.power_iterate(200)
    images = np.random.default_rng(1).normal(size=(2, 6, 6, 5)).astype(np.float32)
    kernel = layer.kernel.numpy() / np.linalg.svd(matrix(layer))[1][0]
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = np.zeros((2, 6, 6, 7))
    for i in range(3):
        for j in range(3):
            expected += padded[:, i : i + 6, j : j + 6] @ kernel[i, j]
    np.testing.assert_allclose(layer(images), expected + np.arange(7), atol=1e-4)


def test_dense_is_a_plain_one_with_the_divided_kernel():
    layer = LAYERS["dense"]()
    layer.bias.assign(np.arange(9.0))
    layer.power_iterate(200)
    inputs = np.random.default_rng(1).normal(size=(3, 6)).astype(np.float32)
    expected = inputs @ layer.kernel.numpy() / np.linalg.svd(matrix(layer))[1][0] + np.arange(9)
    np.testing.assert_allclose(layer(inputs), expected, atol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_the_gradient_flows_through_sigma(name):
    """d/dK of <K / sigma(K), R>: with a converged u, Miyato's closed form and central differences
    of the SVD.
    """
    layer = LAYERS[name]()
    layer.power_iterate(300)
    weights = np.random.default_rng(2).normal(size=layer.kernel.shape)
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(layer.normalized_kernel() * weights.astype(np.float32))
    gradient = tape.gradient(value, layer.kernel.value).numpy()

    def exact(kernel):
        flat = kernel.reshape(-1, kernel.shape[-1])
        return (kernel / np.linalg.svd(flat)[1][0] * weights).sum()

    kernel = layer.kernel.numpy().astype(np.float64)
    direction = np.random.default_rng(3).normal(size=kernel.shape)
    numeric = (exact(kernel + 1e-5 * direction) - exact(kernel - 1e-5 * direction)) / 2e-5
    assert (gradient * direction).sum() == pytest.approx(numeric, rel=1e-3, abs=1e-4)
    # scaling the kernel changes nothing, so the gradient is orthogonal to it
    assert abs((gradient * kernel).sum()) < 1e-3 * np.linalg.norm(gradient) * np.linalg.norm(kernel)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("training", [True, False])
def test_a_call_never_writes(name, training):
    layer = LAYERS[name]()
    before = layer.get_weights()
    inputs = tf.random.normal([2, 8, 8, layer.kernel.shape[-2]])
    with tf.GradientTape():
        layer(inputs if isinstance(layer, SpectralConv2D) else inputs[:, 0, 0], training=training)
    for old, new in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


class TwoLayers(keras.Model):
    """A small network: a convolution, and a dense layer inside another layer."""

    def __init__(self):
        super().__init__()
        self.first, self.inner = SpectralConv2D(4), [SpectralDense(3)]

    def call(self, x):
        return self.inner[0](tf.reduce_sum(tf.nn.relu(self.first(x)), axis=[1, 2]))


def test_a_training_step_iterates_once_for_each_update():
    """Two D updates on real and fake halves, K + 1 embedder calls, micro-batches: u moves once an
    update, never else.
    """
    embedder, discriminator, K = TwoLayers(), TwoLayers(), 3
    image = tf.random.stateless_normal([2, 8, 8, 3], (1, 2))
    for network in (embedder, discriminator):
        network(image)
    kernels = {
        id(layer): matrix(layer) for n in (embedder, discriminator) for layer in spectral_layers(n)
    }
    expected = {
        id(layer): layer.u.numpy()
        for n in (embedder, discriminator)
        for layer in spectral_layers(n)
    }

    @tf.function
    def step():
        for _ in range(2):  # D updates
            power_iterate(discriminator)
            for _ in range(4):  # micro-batches, each with a real and a fake half
                discriminator(image), discriminator(-image)
        power_iterate(embedder)
        for _ in range(4):
            for _ in range(K + 1):
                embedder(image)
            discriminator(image)

    step()
    for network, updates in ((discriminator, 2), (embedder, 1)):
        assert len(spectral_layers(network)) == 2
        for layer in spectral_layers(network):
            u = expected[id(layer)]
            for _ in range(updates):
                u = kernels[id(layer)].T @ (kernels[id(layer)] @ u)
                u /= np.linalg.norm(u)
            np.testing.assert_allclose(layer.u, u, atol=1e-5)


def test_converging_a_network_reaches_every_layer():
    network = TwoLayers()
    network(tf.zeros([1, 8, 8, 3]))
    for layer in spectral_layers(network):
        layer.kernel.assign(np.random.default_rng(5).normal(size=layer.kernel.shape))
    converge_spectral_norms(network)
    for layer in spectral_layers(network):
        np.testing.assert_allclose(layer.sigma(), np.linalg.svd(matrix(layer))[1][0], rtol=1e-4)


@pytest.mark.parametrize("shape", [(30, 7), (4, 11), (5, 5), (6, 1)])
def test_leading_vector_is_the_svds(shape):
    matrix = np.random.default_rng(6).normal(size=shape)
    vector, expected = leading_vector(matrix), np.linalg.svd(matrix)[2][0]
    np.testing.assert_allclose(vector, expected * np.sign(expected @ vector), atol=1e-9)
    np.testing.assert_array_equal(leading_vector(-matrix), vector)  # the sign is fixed
    assert np.isfinite(leading_vector(np.zeros(shape))).all()


def test_u_declares_how_replicas_agree():
    """Keras's default aggregation is "none": a `u` iterated in replica context would differ between
    them.
    """
    for name in LAYERS:
        layer = LAYERS[name]()
        assert layer.u.aggregation == "only_first_replica"
        assert not layer.u.trainable


def test_a_zero_kernel_gives_finite_values_and_gradients():
    layer = LAYERS["dense"]()
    layer.kernel.assign(tf.zeros_like(layer.kernel.value))
    layer.power_iterate()
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(layer(tf.ones([1, 6])))
    assert np.isfinite(value) and np.isfinite(tape.gradient(value, layer.kernel.value)).all()
    assert np.isfinite(layer.u).all()


def test_kernel_and_u_stay_float32_under_a_mixed_policy():
    layer = SpectralConv2D(4, dtype="mixed_bfloat16")
    outputs = layer(tf.ones([1, 4, 4, 3]))
    assert outputs.dtype == tf.bfloat16
    assert {weight.dtype for weight in layer.weights} == {"float32"}
    assert layer.normalized_kernel().dtype == tf.float32


@pytest.mark.parametrize(
    "layer", [SpectralConv2D(4, 1, use_bias=False, eps=1e-3), SpectralDense(4, eps=1e-3)]
)
def test_layers_can_be_made_again_from_their_config(layer):
    config = layer.get_config()
    again = type(layer).from_config(config)
    assert again.get_config() == config
    assert (again.use_bias, again.eps) == (layer.use_bias, 1e-3)
    shape = (2, 6, 6, 3) if isinstance(layer, SpectralConv2D) else (2, 3)
    assert again.compute_output_shape(shape) == tuple(again(tf.zeros(shape)).shape)
