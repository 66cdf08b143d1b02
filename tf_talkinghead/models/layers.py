"""Spectral normalisation, reparametrised (Miyato et al. 2018): layers whose kernel is divided by
its norm.

The raw kernel is what the optimizer sees; each call divides it by sigma = |K u|, the kernel's
largest singular value as seen by the stored unit vector `u`, and the gradient flows through sigma.
A call never writes. `power_iterate(network)` moves every `u` of a network one step towards its
kernel's leading singular vector; call it once before each optimizer update of that network. A
convolution's kernel [h, w, in, out] counts as a matrix [h * w * in, out].

Kernels and `u` stay float32 under a mixed policy (a sigma of eight bits would be no norm); the
quotient is cast.
"""

import keras
import numpy as np
import tensorflow as tf

PACKAGE = "tf_talkinghead"
_FIRST_ITERATIONS = 15


class _Spectral(keras.layers.Layer):
    """What the spectral layers share: a raw kernel, its vector `u` and, if asked for, a bias."""

    def __init__(self, use_bias=True, eps=1e-4, **kwargs):
        super().__init__(**kwargs)
        self.use_bias = use_bias
        self.eps = eps

    def _add_kernel(self, shape):
        """Creates `kernel` of `shape` (its last dimension is the output's), `u` [out] and `bias`
        [out].
        """
        self.kernel = self.add_weight(
            name="kernel", shape=shape, initializer="orthogonal", autocast=False
        )
        self.u = self.add_weight(
            name="u",
            shape=shape[-1:],
            initializer=keras.initializers.RandomNormal(stddev=shape[-1] ** -0.5),
            trainable=False,
            autocast=False,
            # every replica computes the same vector from the same kernel; without this they would
            # drift apart
            aggregation="only_first_replica",
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=shape[-1:], initializer="zeros")
        # a random u underestimates sigma several times, and the first outputs saturate
        with tf.init_scope():
            if tf.executing_eagerly():
                self.power_iterate(_FIRST_ITERATIONS)

    def _matrix(self):
        return tf.reshape(self.kernel.value, [-1, self.kernel.shape[-1]])

    def sigma(self):
        """The kernel's norm as `u` sees it, float32 scalar.

        Differentiable in the kernel, `u` being a constant.
        """
        image = tf.linalg.matvec(self._matrix(), tf.stop_gradient(self.u.value))
        return tf.sqrt(tf.maximum(tf.reduce_sum(tf.square(image)), self.eps**2))

    def normalized_kernel(self):
        """kernel / sigma, float32: what a plain layer must hold to do the same."""
        return self.kernel.value / self.sigma()

    def power_iterate(self, iterations=1):
        """Moves `u` that many steps of the power method towards the leading right singular
        vector.
        """
        matrix, u = tf.stop_gradient(self._matrix()), self.u.value + 0.0
        for _ in range(iterations):
            v = _unit(tf.linalg.matvec(matrix, u), self.eps)
            u = _unit(tf.linalg.matvec(matrix, v, transpose_a=True), self.eps)
        self.u.assign(u)

    def get_config(self):
        return {**super().get_config(), "use_bias": self.use_bias, "eps": self.eps}


def _unit(vector, eps):
    return vector / tf.maximum(tf.norm(vector), eps)


@keras.saving.register_keras_serializable(PACKAGE)
class SpectralConv2D(_Spectral):
    """A stride-1, zero-padded convolution [B, H, W, in] -> [B, H, W, filters] with spectral
    normalisation.
    """

    def __init__(self, filters, kernel_size=3, use_bias=True, eps=1e-4, **kwargs):
        super().__init__(use_bias=use_bias, eps=eps, **kwargs)
        self.filters = filters
        self.kernel_size = kernel_size

    def build(self, input_shape):
        self._add_kernel((self.kernel_size, self.kernel_size, input_shape[-1], self.filters))

    def call(self, inputs):
        kernel = tf.cast(self.normalized_kernel(), self.compute_dtype)
        outputs = tf.nn.conv2d(inputs, kernel, strides=1, padding="SAME")
        return (
            outputs
            if self.bias is None
            else tf.nn.bias_add(outputs, tf.convert_to_tensor(self.bias))
        )

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "kernel_size": self.kernel_size}


@keras.saving.register_keras_serializable(PACKAGE)
class SpectralDense(_Spectral):
    """A dense layer [B, in] -> [B, units] with spectral normalisation."""

    def __init__(self, units, use_bias=True, eps=1e-4, **kwargs):
        super().__init__(use_bias=use_bias, eps=eps, **kwargs)
        self.units = units

    def build(self, input_shape):
        self._add_kernel((input_shape[-1], self.units))

    def call(self, inputs):
        outputs = tf.matmul(inputs, tf.cast(self.normalized_kernel(), self.compute_dtype))
        return (
            outputs
            if self.bias is None
            else tf.nn.bias_add(outputs, tf.convert_to_tensor(self.bias))
        )

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def spectral_layers(network):
    """Every spectral layer inside `network`, in a fixed order."""
    return [layer for layer in network._flatten_layers() if isinstance(layer, _Spectral)]


def power_iterate(network):
    """One power iteration of every spectral layer of `network`.

    Once before each of its optimizer updates.
    """
    for layer in spectral_layers(network):
        layer.power_iterate()


def converge_spectral_norms(network):
    """Sets every `u` of `network` to its kernel's leading singular vector, for kernels no training
    step has followed.

    Averaged (EMA) kernels need it before they are compared, folded or exported: their `u` belongs
    to others. Exact rather than iterated, and eager only; the sign of a vector is fixed, so equal
    kernels give equal `u`.
    """
    for layer in spectral_layers(network):
        layer.u.assign(
            leading_vector(np.asarray(layer.kernel, np.float64).reshape(-1, layer.kernel.shape[-1]))
        )


def leading_vector(matrix):
    """The unit right singular vector [out] of `matrix` [rows, out] with the largest singular
    value.
    """
    rows, out = matrix.shape
    if out <= rows:  # the smaller of the two Gram matrices
        u = np.linalg.eigh(matrix.T @ matrix)[1][:, -1]
    else:
        u = matrix.T @ np.linalg.eigh(matrix @ matrix.T)[1][:, -1]
        u /= max(np.linalg.norm(u), np.finfo(np.float64).tiny)
    return u if u[np.argmax(np.abs(u))] >= 0 else -u
