"""Network blocks: instance norm, AdaIN, self-attention and the pre-activation residual block.

All tensors are NHWC. `spectral=False` builds the same layers with plain kernels, for serving.
In blocks with normalisation the convolutions have no bias, since the normalisation cancels it.
"""

import keras
import tensorflow as tf

from tf_talkinghead.models.layers import PACKAGE, SpectralConv2D


def convolution(filters, kernel_size, use_bias, spectral, eps, dtype, name):
    """A stride-1, zero-padded convolution, spectrally normalised or plain."""
    if spectral:
        return SpectralConv2D(filters, kernel_size, use_bias, eps, dtype=dtype, name=name)
    return keras.layers.Conv2D(
        filters, kernel_size, padding="same", use_bias=use_bias, dtype=dtype, name=name
    )


def normalize_instance(h, scale, shift, eps):
    """`scale * instance_norm(h) + shift`.

    Args:
      h: [B, H, W, C] of any float dtype; statistics are computed in float32.
      scale, shift: float32, broadcastable to [B, 1, 1, C].
      eps: added to the variance.

    Returns:
      [B, H, W, C] of h's dtype.
    """
    mean, variance = tf.nn.moments(tf.cast(h, tf.float32), axes=[1, 2], keepdims=True)
    factor = scale * tf.math.rsqrt(variance + eps)
    return h * tf.cast(factor, h.dtype) + tf.cast(shift - mean * factor, h.dtype)


@keras.saving.register_keras_serializable(PACKAGE)
class InstanceNormalization(keras.layers.Layer):
    """Instance normalisation with learned scale and shift, [B, H, W, C] -> the same.

    Each channel of each image is normalised to zero mean and unit variance.
    """

    def __init__(self, eps=1e-5, **kwargs):
        super().__init__(**kwargs)
        self.eps = eps

    def build(self, input_shape):
        channels = (input_shape[-1],)
        self.scale = self.add_weight(
            name="scale", shape=channels, initializer="ones", autocast=False
        )
        self.shift = self.add_weight(
            name="shift", shape=channels, initializer="zeros", autocast=False
        )

    def call(self, h):
        return normalize_instance(h, self.scale.value, self.shift.value, self.eps)

    def get_config(self):
        return {**super().get_config(), "eps": self.eps}


@keras.saving.register_keras_serializable(PACKAGE)
class AdaptiveInstanceNormalization(keras.layers.Layer):
    """AdaIN: `(1 + scale) * instance_norm(h) + shift`, h [B, H, W, C] -> the same.

    `psi` [B, 2C] float32 is (scale, shift).
    """

    def __init__(self, eps=1e-5, **kwargs):
        super().__init__(autocast=False, **kwargs)  # psi stays float32 under a mixed policy
        self.eps = eps

    def call(self, h, psi):
        scale, shift = tf.split(psi[:, None, None], 2, axis=-1)  # [B, 1, 1, C] each
        return normalize_instance(h, 1.0 + scale, shift, self.eps)

    def get_config(self):
        config = {**super().get_config(), "eps": self.eps}
        config.pop("autocast", None)
        return config


@keras.saving.register_keras_serializable(PACKAGE)
class SelfAttention(keras.layers.Layer):
    """SAGAN self-attention with a residual gain initialised to 0, [B, H, W, C] -> the same.

    Queries and keys have C/8 channels, values C/2; keys and values are max-pooled 2x2. There are no
    biases: the softmax cancels a key's, and the biases of neighbouring convolutions suffice.
    """

    def __init__(self, spectral=True, eps=1e-4, **kwargs):
        super().__init__(**kwargs)
        self.spectral = spectral
        self.eps = eps

    def build(self, input_shape):
        channels = input_shape[-1]
        self.narrow, self.half = max(1, channels // 8), max(1, channels // 2)
        arguments = {
            "use_bias": False,
            "spectral": self.spectral,
            "eps": self.eps,
            "dtype": self.dtype_policy,
        }
        self.query = convolution(self.narrow, 1, name="query", **arguments)
        self.key = convolution(self.narrow, 1, name="key", **arguments)
        self.value = convolution(self.half, 1, name="value", **arguments)
        self.output_convolution = convolution(channels, 1, name="output", **arguments)
        for layer in (self.query, self.key, self.value):
            layer.build(input_shape)
        self.output_convolution.build((*input_shape[:-1], self.half))
        self.gain = self.add_weight(name="gain", shape=(), initializer="zeros")

    def call(self, h):
        height, width = h.shape[1], h.shape[2]
        query = tf.reshape(self.query(h), [-1, height * width, self.narrow])  # [B, HW, C/8]
        # [B, HW/4, C/8]
        key = tf.reshape(_max_pool(self.key(h)), [-1, height * width // 4, self.narrow])
        # [B, HW/4, C/2]
        value = tf.reshape(_max_pool(self.value(h)), [-1, height * width // 4, self.half])
        weights = tf.nn.softmax(tf.matmul(query, key, transpose_b=True))  # [B, HW, HW/4]
        attended = tf.reshape(tf.matmul(weights, value), [-1, height, width, self.half])
        return h + tf.convert_to_tensor(self.gain) * self.output_convolution(attended)

    def get_config(self):
        return {**super().get_config(), "spectral": self.spectral, "eps": self.eps}


@keras.saving.register_keras_serializable(PACKAGE)
class Gain(keras.layers.Layer):
    """A learned scalar factor: `gain * h`, h of any shape.

    Spectral normalisation bounds a convolution; the gain lets its output grow, or start at 0.

    Args:
      start: initial value of the gain.
    """

    def __init__(self, start=0.0, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.start = start

    def build(self, input_shape=None):
        self.gain = self.add_weight(
            name="gain", shape=(), initializer=keras.initializers.Constant(self.start)
        )

    def call(self, h):
        return h * self.gain.value

    def get_config(self):
        config = {**super().get_config(), "start": self.start}
        config.pop("autocast", None)
        return config


@keras.saving.register_keras_serializable(PACKAGE)
class ResidualBlock(keras.layers.Layer):
    """Pre-activation residual block with optional resampling, [B, H, W, in] -> [B, H', W', out].

    norm - ReLU - (nearest up) - conv3 - norm - ReLU - conv3 - (average-pool down), plus the skip.
    The skip has a 1x1 convolution where channels or size change. It runs at the smaller of the two
    sizes, which is equivalent (a 1x1 convolution commutes with both kinds of resampling).

    Args:
      channels: output channels.
      resample: "down" halves the size, "up" doubles it, "none" keeps it.
      norm: "none", "instance", or "adaptive" (the call then takes `psi` [B, 2 *
        (input + output channels)]).
      opening: False omits the opening norm and ReLU, which would clip raw pixels.
      spectral, eps, norm_eps: see `convolution` and `normalize_instance`.
    """

    def __init__(
        self,
        channels,
        resample="none",
        norm="none",
        opening=True,
        spectral=True,
        eps=1e-4,
        norm_eps=1e-5,
        **kwargs,
    ):
        # The inner layers cast their own inputs; psi stays float32.
        super().__init__(autocast=False, **kwargs)
        self.channels = channels
        self.resample = resample
        self.norm = norm
        self.opening = opening
        self.spectral = spectral
        self.eps = eps
        self.norm_eps = norm_eps

    def build(self, input_shape):
        inputs = input_shape[-1]
        arguments = {"use_bias": self.norm == "none", "spectral": self.spectral, "eps": self.eps}
        arguments["dtype"] = self.dtype_policy
        self.norm_1 = self._norm(inputs, "norm_1") if self.opening else None
        self.convolution_1 = convolution(self.channels, 3, name="convolution_1", **arguments)
        self.norm_2 = self._norm(self.channels, "norm_2")
        self.convolution_2 = convolution(self.channels, 3, name="convolution_2", **arguments)
        self.convolution_1.build((None, None, None, inputs))
        self.convolution_2.build((None, None, None, self.channels))
        self.skip = None
        if self.resample != "none" or inputs != self.channels:
            self.skip = convolution(self.channels, 1, name="skip", **arguments)
            self.skip.build((None, None, None, inputs))
        self.split = [2 * inputs, 2 * self.channels]

    def _norm(self, channels, name):
        kind = {"instance": InstanceNormalization, "adaptive": AdaptiveInstanceNormalization}.get(
            self.norm
        )
        if kind is None:
            return None
        layer = kind(self.norm_eps, dtype=self.dtype_policy, name=name)
        layer.build((None, None, None, channels))
        return layer

    def call(self, h, psi=None):
        psi_1, psi_2 = (None, None) if psi is None else tf.split(psi, self.split, axis=-1)
        h = tf.cast(h, self.compute_dtype)
        rest = h
        if self.opening:
            rest = tf.nn.relu(_normalized(self.norm_1, rest, psi_1))
        if self.resample == "up":
            rest = _double(rest)
        rest = tf.nn.relu(_normalized(self.norm_2, self.convolution_1(rest), psi_2))
        rest = self.convolution_2(rest)
        if self.resample == "down":
            rest, h = _halve(rest), _halve(h)
        if self.skip is not None:
            h = self.skip(h)
        return rest + (_double(h) if self.resample == "up" else h)

    def get_config(self):
        names = ("channels", "resample", "norm", "opening", "spectral", "eps", "norm_eps")
        config = {**super().get_config(), **{name: getattr(self, name) for name in names}}
        config.pop("autocast", None)
        return config


def _normalized(norm, h, psi):
    if norm is None:
        return h
    return norm(h) if psi is None else norm(h, psi)


def _max_pool(h):
    return tf.nn.max_pool2d(h, 2, 2, "VALID")


def _halve(h):
    """2x2 average pooling, [B, H, W, C] -> [B, H/2, W/2, C]."""
    return tf.nn.avg_pool2d(h, 2, 2, "VALID")


def _double(h):
    """Nearest-neighbour upsampling, [B, H, W, C] -> [B, 2H, 2W, C]."""
    _, height, width, channels = h.shape
    h = tf.tile(h[:, :, None, :, None], [1, 1, 2, 1, 2, 1])
    return tf.reshape(h, [-1, 2 * height, 2 * width, channels])
