"""Spectrally normalised layers (Miyato et al. 2018): convolution and dense.

The optimizer updates the raw kernel; each call divides it by sigma = |K u|, the estimate of the
kernel's largest singular value by the stored unit vector `u`, and the gradient flows through sigma.
A call writes no variable. `power_iterate(network)` moves every `u` of a network one step towards
its kernel's leading singular vector; call it once before each optimizer update of that network. A
convolution's kernel [h, w, in, out] is treated as a matrix [h * w * in, out].

Kernels and `u` stay float32 under a mixed policy, since bfloat16 is too coarse for sigma; the
quotient is cast.
"""

import keras
import numpy as np
import tensorflow as tf

PACKAGE = "tf_talkinghead"
_FIRST_ITERATIONS = 15  # power iterations when a layer is built


class _Spectral(keras.layers.Layer):
    """Base of the spectral layers: a raw kernel, its vector `u` and an optional bias."""

    def __init__(self, use_bias=True, eps=1e-4, **kwargs):
        super().__init__(**kwargs)
        self.use_bias = use_bias
        self.eps = eps

    def _add_kernel(self, shape):
        """Creates `kernel` of `shape` [..., out], `u` [out] and, if used, `bias` [out]."""
        self.kernel = self.add_weight(
            name="kernel", shape=shape, initializer="orthogonal", autocast=False
        )
        self.u = self.add_weight(
            name="u",
            shape=shape[-1:],
            initializer=keras.initializers.RandomNormal(stddev=shape[-1] ** -0.5),
            trainable=False,
            autocast=False,
            # Every replica computes the same vector from the same kernel; with the default
            # aggregation the replicas' copies would diverge.
            aggregation="only_first_replica",
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=shape[-1:], initializer="zeros")
        # A random u underestimates sigma by several times, and the first outputs would saturate.
        with tf.init_scope():
            if tf.executing_eagerly():
                self.power_iterate(_FIRST_ITERATIONS)

    def _matrix(self):
        return tf.reshape(self.kernel.value, [-1, self.kernel.shape[-1]])

    def sigma(self):
        """Estimate |K u| of the kernel's spectral norm, float32 scalar; `u` gets no gradient."""
        image = tf.linalg.matvec(self._matrix(), tf.stop_gradient(self.u.value))
        return tf.sqrt(tf.maximum(tf.reduce_sum(tf.square(image)), self.eps**2))

    def normalized_kernel(self):
        """kernel / sigma, float32: the kernel of the equivalent plain layer."""
        return self.kernel.value / self.sigma()

    def power_iterate(self, iterations=1):
        """Moves `u` towards the leading right singular vector by `iterations` power iterations."""
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
    """Spectrally normalised convolution, [B, H, W, in] -> [B, H, W, filters].

    Stride 1, zero-padded.

    Args:
      filters: output channels.
      kernel_size: height and width of the kernel.
      use_bias: whether a bias is added.
      eps: lower bound of norms, against division by zero.
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
    """Spectrally normalised dense layer, [B, in] -> [B, units]; arguments as SpectralConv2D."""

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
    """All spectral layers of `network`, in a fixed order."""
    return [layer for layer in network._flatten_layers() if isinstance(layer, _Spectral)]


def power_iterate(network):
    """Runs one power iteration in every spectral layer; call it before each optimizer update."""
    for layer in spectral_layers(network):
        layer.power_iterate()


def converge_spectral_norms(network):
    """Sets every `u` of `network` to its kernel's exact leading singular vector; eager only.

    Averaged (EMA) kernels need it before they are compared, folded or exported, since their `u` was
    iterated for other kernels. The sign of the vector is fixed, so equal kernels give equal `u`.
    """
    for layer in spectral_layers(network):
        layer.u.assign(
            leading_vector(np.asarray(layer.kernel, np.float64).reshape(-1, layer.kernel.shape[-1]))
        )


def leading_vector(matrix):
    """Unit right singular vector [out] of `matrix` [rows, out] for its largest singular value."""
    rows, out = matrix.shape
    if out <= rows:  # the smaller of the two Gram matrices
        u = np.linalg.eigh(matrix.T @ matrix)[1][:, -1]
    else:
        u = matrix.T @ np.linalg.eigh(matrix @ matrix.T)[1][:, -1]
        u /= max(np.linalg.norm(u), np.finfo(np.float64).tiny)
    return u if u[np.argmax(np.abs(u))] >= 0 else -u
