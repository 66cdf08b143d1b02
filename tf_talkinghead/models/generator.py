"""Generator G(y, e_hat; psi, P) of Sec. 3.1, and its folded form for serving.

    y [B, H, W, 3] in [0, 1], psi_hat [B, A]  ->  x_hat [B, H, W, 3] in [-1, 1]

Down blocks with instance norm to H/16, residual blocks at that size and up blocks to H with AdaIN,
then AdaIN - ReLU - conv3 - tanh. psi_hat = P e_hat holds the scales and shifts of every AdaIN in
forward order, each as (scale, shift). A = 13,056 in preset `paper`.
"""

import keras
import tensorflow as tf

from tf_talkinghead.errors import InputError
from tf_talkinghead.models.blocks import (
    AdaptiveInstanceNormalization,
    Gain,
    InstanceNormalization,
    SelfAttention,
    convolution,
)
from tf_talkinghead.models.checks import checked, checked_drawing
from tf_talkinghead.models.layers import PACKAGE, SpectralConv2D, SpectralDense
from tf_talkinghead.models.network import Network, add_attention, add_block, down_part


def adain_sizes(config):
    """Lengths of psi_hat's slices, one per block with AdaIN in forward order, then the final norm.

    Args:
      config: ModelConfig.

    Returns:
      list of int; their sum is A.
    """
    channels = config.generator_channels
    widest = channels[-1]
    sizes = [2 * (widest + widest)] * config.generator_residual_blocks
    inputs = widest
    for outputs in reversed(channels):
        sizes.append(2 * (inputs + outputs))
        inputs = outputs
    return [*sizes, 2 * inputs]


def adain_size(config):
    """A, the length of psi_hat."""
    return sum(adain_sizes(config))


class _Body(Network):
    """G without P, with spectrally normalised or plain kernels."""

    spectral = True

    @property
    def adain_size(self):
        """A, the length of psi_hat."""
        return adain_size(self.config)

    def _build_body(self):
        config, channels = self.config, self.config.generator_channels
        self.down = down_part(self, 3, channels, "instance", self.spectral)
        size, inputs = config.image_size >> len(channels), channels[-1]
        self.up = []
        for number in range(config.generator_residual_blocks):
            self._add_up((None, size, size, inputs), inputs, f"residual_{number}", "none")
        for number, outputs in enumerate(reversed(channels)):
            self._add_up((None, size, size, inputs), outputs, f"up_{number}", "up")
            size, inputs = 2 * size, outputs
            if size == config.attention_up_size:
                self.up.append(
                    add_attention(self, (None, size, size, inputs), "up_attention", self.spectral)
                )
        self.closing_norm = AdaptiveInstanceNormalization(
            config.instance_norm_eps, dtype=self.dtype_policy, name="closing_norm"
        )
        self.closing = convolution(
            3,
            3,
            True,
            self.spectral,
            config.spectral_norm_eps,
            dtype=self.dtype_policy,
            name="closing",
        )
        self.closing.build((None, size, size, inputs))

    def _add_up(self, shape, outputs, name, resample):
        self.up.append(
            add_block(self, shape, outputs, name, "adaptive", resample, spectral=self.spectral)
        )

    def _leaves(self):
        """All layers of the body in building order, each before the layers it contains."""
        return [
            leaf for part in [*self.down, *self.up, self.closing] for leaf in part._flatten_layers()
        ]

    def _render(self, y, psi_hat):
        """x_hat float32 [B, H, W, 3] in [-1, 1]."""
        parts = iter(tf.split(psi_hat, adain_sizes(self.config), axis=-1))
        h = y
        for layer in self.down:
            h = layer(h)  # ... [B, H/16, W/16, 512]
        for layer in self.up:
            # ... [B, H, W, 64]
            h = layer(h) if isinstance(layer, SelfAttention) else layer(h, next(parts))
        h = self.closing(tf.nn.relu(self.closing_norm(h, next(parts))))
        return tf.tanh(tf.cast(h, tf.float32))

    def _checked_psi(self, psi_hat):
        return checked("psi_hat", psi_hat, (self.adain_size,))


class Projection:
    """Mixin of trainable generators: the projection P, psi_hat = P e_hat."""

    def _build_projection(self):
        eps = self.config.spectral_norm_eps
        self.P = SpectralDense(self.adain_size, eps=eps, dtype="float32", name="P")
        self.P.build((None, self.config.embedding_size))

    def project(self, e_hat):
        """Projects e_hat [B, N] to psi_hat [B, A]."""
        return self.P(checked("e_hat", e_hat, (self.config.embedding_size,)))

    def _psi(self, psi_hat, e_hat):
        """psi_hat [B, A], given directly or as e_hat; InputError unless exactly one is given."""
        if (psi_hat is None) == (e_hat is None):
            raise InputError(
                "generator: expected either psi_hat [B, A] or e_hat [B, N], got both or neither"
            )
        return self.project(e_hat) if psi_hat is None else self._checked_psi(psi_hat)


def copy_folded(generator, folded):
    """Sets the plain kernels of `folded` to those of `generator`, each divided by its sigma.

    Both networks must have the same config.
    """
    for source, target in zip(generator._leaves(), folded._leaves(), strict=True):
        if isinstance(source, SpectralConv2D):
            target.kernel.assign(source.normalized_kernel())
            if source.use_bias:
                target.bias.assign(source.bias)
        elif isinstance(source, InstanceNormalization):
            target.set_weights(source.get_weights())
        elif isinstance(source, (SelfAttention, Gain)):
            target.gain.assign(source.gain)


@keras.saving.register_keras_serializable(PACKAGE)
class Generator(Projection, _Body):
    """G with P: `generator(y, psi_hat=psi_hat)` or `generator(y, e_hat=e_hat)`.

    Both return x_hat float32 [B, H, W, 3] in [-1, 1]; the second form computes
    `psi_hat = generator.project(e_hat)`.

    Raises:
      InputError: a wrong shape or range, or both or none of psi_hat and e_hat.
    """

    def build(self, input_shape=None):
        self._build_body()
        self._build_projection()

    def call(self, y, psi_hat=None, e_hat=None):
        psi_hat = self._psi(psi_hat, e_hat)
        return self._render(checked_drawing("y", y, self.config.image_size), psi_hat)

    def folded(self, dtype=None):
        """The equivalent FoldedGenerator of (y, psi_hat): plain kernels, without P.

        Args:
          dtype: dtype policy of the result; by default this generator's.
        """
        result = FoldedGenerator(self.config, dtype=dtype or self.dtype_policy)
        result.build()
        copy_folded(self, result)
        return result


@keras.saving.register_keras_serializable(PACKAGE)
class FoldedGenerator(_Body):
    """G for serving: `folded(y, psi_hat)` -> x_hat, with plain convolutions and without P.

    Made by `Generator.folded`.
    """

    spectral = False

    def build(self, input_shape=None):
        self._build_body()

    def call(self, y, psi_hat):
        return self._render(
            checked_drawing("y", y, self.config.image_size), self._checked_psi(psi_hat)
        )
