"""Discriminator D(x, y, i) = V(x, y)^T (W_i + w_0) + b (Sec. 3.1), and its form for a new person.

V has the embedder's architecture and one more residual block at 4x4. W has one row per training
video and is not spectrally normalised: its rows must be free to match e_hat (the match term), and
the cost of its norm would grow with the number of videos. W, w_0 and b stay float32 under every
dtype policy.
"""

import keras
import tensorflow as tf

from tf_talkinghead.errors import InputError
from tf_talkinghead.models.checks import (
    checked,
    checked_drawing,
    checked_image,
    checked_index,
)
from tf_talkinghead.models.embedder import run_down, sum_of_positions
from tf_talkinghead.models.layers import PACKAGE
from tf_talkinghead.models.network import Network, add_block, down_part


@keras.saving.register_keras_serializable(PACKAGE)
class RealismNetwork(Network):
    """V: `V(x, y)` -> (v float32 [B, N], list of the activations [B, h, w, c] after each block)."""

    def build(self, input_shape=None):
        channels = self.config.embedder_channels
        self.down = down_part(self, 6, channels)
        self.last = add_block(self, (None, 4, 4, channels[-1]), channels[-1], "residual")

    def call(self, x, y):
        size = self.config.working_size
        x, y = checked_image("x", x, size), checked_drawing("y", y, size)
        h, activations = run_down([*self.down, self.last], tf.concat([x, y], axis=-1))
        return sum_of_positions(h), activations


@keras.saving.register_keras_serializable(PACKAGE)
class Discriminator(Network):
    """D of meta-learning: `discriminator(x, y, index)` -> (score [B] float32, activations of V).

    Args:
      config: ModelConfig.
      videos: rows of W, the number of training videos.

    Attributes: V (model), W [videos, N], w_0 [N], b [].
    """

    def __init__(self, config, videos, **kwargs):
        super().__init__(config, **kwargs)
        if not isinstance(videos, int) or videos < 1:
            raise InputError(f"videos: expected a positive integer, got {videos!r}")
        self.videos = videos
        self.V = RealismNetwork(self.config, dtype=self.dtype_policy, name="V")

    def build(self, input_shape=None):
        size = self.config.embedding_size
        normal = keras.initializers.RandomNormal(stddev=size**-0.5)
        self.V.build()
        self.W = self.add_weight(
            name="W", shape=(self.videos, size), initializer=normal, autocast=False
        )
        self.w_0 = self.add_weight(name="w_0", shape=(size,), initializer=normal, autocast=False)
        self.b = self.add_weight(name="b", shape=(), initializer="zeros", autocast=False)

    def call(self, x, y, index):
        v, activations = self.V(x, y)
        return tf.reduce_sum(
            v * (self.rows(index) + self.w_0.value), axis=-1
        ) + self.b.value, activations

    def rows(self, index):
        """Rows W_i, float32 [B, N], for integer indices [B]; the gradient is sparse."""
        return tf.gather(self.W.value, checked_index(index, self.videos))

    def get_config(self):
        return {**super().get_config(), "videos": self.videos}


@keras.saving.register_keras_serializable(PACKAGE)
class PersonalDiscriminator(Network):
    """D of one new person (Sec. 3.3): `discriminator(x, y)` -> (score [B], activations of V).

    score = v^T w' + b.

    Attributes: V (model), w [N] (the paper's w' = w_0 + e_NEW), b [].
    """

    def __init__(self, config, **kwargs):
        super().__init__(config, **kwargs)
        self.V = RealismNetwork(self.config, dtype=self.dtype_policy, name="V")

    def build(self, input_shape=None):
        self.V.build()
        shape = (self.config.embedding_size,)
        self.w = self.add_weight(name="w", shape=shape, initializer="zeros", autocast=False)
        self.b = self.add_weight(name="b", shape=(), initializer="zeros", autocast=False)

    def call(self, x, y):
        v, activations = self.V(x, y)
        return tf.linalg.matvec(v, self.w.value) + self.b.value, activations

    @classmethod
    def from_parts(cls, config, V, w_0, b, e_new, **kwargs):
        """The initial discriminator of a person's fine-tuning; V's weights are copied, not shared.

        Args:
          config: ModelConfig.
          V: the meta-learned RealismNetwork.
          w_0, b: the meta-learned vector [N] and scalar.
          e_new: mean embedding of the person's images, [N].
        """
        size = config.embedding_size
        parts = {"w_0": w_0, "e_new": e_new}
        w_0, e_new = (
            checked(name, tf.convert_to_tensor(part)[None], (size,))[0]
            for name, part in parts.items()
        )
        discriminator = cls(config, **kwargs)
        discriminator.build()
        discriminator.V.set_weights(V.get_weights())
        discriminator.w.assign(w_0 + e_new)
        discriminator.b.assign(b)
        return discriminator
