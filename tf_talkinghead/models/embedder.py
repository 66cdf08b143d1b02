"""Embedder E(x, y; phi) of Sec. 3.1: a frame and its landmark drawing to a person embedding.

    x [B, H, W, 3] in [-1, 1], y [B, H, W, 3] in [0, 1]  ->  e [B, N]

Residual blocks down to 4x4, without normalisation; then ReLU, then the sum over positions (as in an
author's later code; the paper's text names the two in the opposite order). The person's e_hat is
the mean of e over K frames.
"""

import keras
import tensorflow as tf

from tf_talkinghead.models.blocks import SelfAttention
from tf_talkinghead.models.checks import checked_drawing, checked_image
from tf_talkinghead.models.layers import PACKAGE
from tf_talkinghead.models.network import Network, down_part


@keras.saving.register_keras_serializable(PACKAGE)
class Embedder(Network):
    """E: `embedder(x, y)` -> e float32 [B, N]; InputError for inputs of wrong shape or range."""

    def build(self, input_shape=None):
        self.down = down_part(self, 6, self.config.embedder_channels)

    def call(self, x, y):
        size = self.config.working_size
        x, y = checked_image("x", x, size), checked_drawing("y", y, size)
        h, _ = run_down(self.down, tf.concat([x, y], axis=-1))  # [B, 4, 4, N]
        return sum_of_positions(h)


def run_down(layers, h):
    """Applies `layers` to `h` [B, H, W, C].

    Returns:
      (output, list of the activations after each block, including its attention).
    """
    activations = []
    for layer in layers:
        h = layer(h)
        if isinstance(layer, SelfAttention):
            activations[-1] = h
        else:
            activations.append(h)
    return h, activations


def sum_of_positions(h):
    """ReLU and sum over positions, [B, h, w, N] -> float32 [B, N]."""
    return tf.reduce_sum(tf.nn.relu(tf.cast(h, tf.float32)), axis=[1, 2])
