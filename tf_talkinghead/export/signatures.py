"""Signatures of an avatar's SavedModel: drawing, generator, watermark and JPEG as one graph.

    serving_default   landmarks float32 [B,68,2]   frames uint8 [B,H,W,3], ok bool [B]
    render_jpeg       landmarks                    jpeg_bytes string [B], ok
    describe          query int32 [B], ignored     card string [B], JSON

A row that cannot be rendered is rendered from the reference landmarks with ok false: an assertion
would fail the other requests of its batch.
"""

import numpy as np
import tensorflow as tf

from tf_talkinghead import provenance
from tf_talkinghead.config import ModelConfig
from tf_talkinghead.models.generator import adain_size
from tf_talkinghead.personalization.avatar import folded_generator
from tf_talkinghead.personalization.rendering import render_direct
from tf_talkinghead.watermark.embedding import Embedder

# Landmarks are clipped to this many crops from the corner: there float32 still resolves a pixel.
_FARTHEST = 8.0


class ServedGenerator(tf.Module):
    """G with plain kernels, as variables of the storage type, and JPEG encoding."""

    def __init__(
        self,
        config: ModelConfig,
        weights: list[np.ndarray],
        reference: np.ndarray,
        dtype: str,
        bfloat16_compute: bool,
        quality: int,
        watermark: Embedder | None = None,
    ):
        """Builds G and its variables.

        Args:
          config: the generator's architecture.
          weights: the folded generator's weights, in its order.
          reference: [68, 2], the landmarks that a non-finite row is rendered from.
          dtype: storage type of the variables, one of DTYPES.
          bfloat16_compute: run the convolutions in bfloat16.
          quality: JPEG quality, 1 to 100.
          watermark: marks every frame; None leaves them unmarked.
        """
        super().__init__(name="renderer")
        self._config, self._size = config, config.image_size
        self._quality, self._watermark = quality, watermark
        self._reference = np.asarray(reference, np.float32)
        # The Keras network's own variables are placeholders only, so they are hidden from tracking.
        self._network = _Untracked(
            folded_generator(config, weights, "mixed_bfloat16" if bfloat16_compute else "float32")
        )
        variables = self._network.it.trainable_variables
        if len(variables) != len(weights):
            raise ValueError(
                f"expected all {len(weights)} folded weights trainable, got {len(variables)}"
            )
        self.kernels = [
            tf.Variable(tf.cast(variable.value, dtype), trainable=False, name=f"weight_{i}")
            for i, variable in enumerate(variables)
        ]

    def _generate(self, *inputs, **options):
        """The network's output for its inputs, computed with `kernels`."""
        kernels = [tf.cast(kernel, tf.float32) for kernel in self.kernels]
        return self._network.it.stateless_call(kernels, [], *inputs, **options)[0]

    def _as_frames(self, x_hat, rows, member=None):
        """The first `rows` of x_hat [B, S, S, 3] in [-1, 1] as uint8, with the watermark.

        member: int32 [B], index of each row's id where the watermark has several; else None.
        """
        frames = tf.clip_by_value((x_hat + 1.0) * 127.5, 0.0, 255.0)
        if self._watermark is not None:
            frames = self._watermark(frames, member)
        frames = tf.cast(tf.round(frames), tf.uint8)
        return tf.ensure_shape(frames[:rows], [None, self._size, self._size, 3])

    def jpeg(self, frames):
        """frames uint8 [B, H, W, 3] -> string [B]: JPEGs with the AI-generated mark as XMP."""

        def encode(frame):
            return tf.io.encode_jpeg(
                frame, format="rgb", quality=self._quality, xmp_metadata=provenance.XMP
            )

        return tf.map_fn(encode, frames, fn_output_signature=tf.string)


class Renderer(ServedGenerator):
    """Frames of the paper's generator from landmarks and AdaIN vectors."""

    def __init__(self, config, *args, **options):
        """As `ServedGenerator`."""
        super().__init__(config, *args, **options)
        # The fixed input signature gives one trace for all signatures, so the file holds the graph
        # once.
        specs = [
            tf.TensorSpec([None, 68, 2], tf.float32),
            tf.TensorSpec([None, adain_size(config)], tf.float32),
        ]
        self.frames = tf.function(self._frames, input_signature=specs, autograph=False)

    def _frames(self, landmarks, psi_hat):
        """landmarks [B, 68, 2], psi_hat [B, A] -> frames uint8 [B, H, W, 3], ok bool [B]."""
        rows = tf.shape(landmarks)[0]
        # A convolution over zero rows fails: one row is rendered then and cut off below.
        padding = tf.cast(rows < 1, tf.int32)
        landmarks = tf.pad(landmarks, [[0, padding], [0, 0], [0, 0]])
        psi_hat = tf.pad(psi_hat, [[0, padding], [0, 0]])

        finite_landmarks = tf.reduce_all(tf.math.is_finite(landmarks), [1, 2])
        finite_psi_hat = tf.reduce_all(tf.math.is_finite(psi_hat), 1)
        landmarks = tf.where(finite_landmarks[:, None, None], landmarks, self._reference[None])
        psi_hat = tf.where(finite_psi_hat[:, None], psi_hat, tf.zeros_like(psi_hat))

        landmarks = tf.clip_by_value(landmarks, -_FARTHEST, _FARTHEST)
        x_hat = render_direct(self._config, self._generate, landmarks, psi_hat)
        return self._as_frames(x_hat, rows), (finite_landmarks & finite_psi_hat)[:rows]


class _Untracked:
    """Holds an object where tf.Module's tracking does not find it."""

    def __init__(self, it):
        self.it = it


class PersonModule(tf.Module):
    """One person's signatures; the AdaIN vector is stored with the weights."""

    def __init__(self, renderer: Renderer, psi_hat: np.ndarray, card: str):
        super().__init__(name="person")
        self.renderer = renderer
        self.psi_hat = tf.Variable(np.asarray(psi_hat, np.float32), trainable=False, name="psi_hat")
        landmarks = tf.TensorSpec([None, 68, 2], tf.float32, "landmarks")
        self.endpoints = {
            "serving_default": signature(self._serving_default, landmarks),
            "render_jpeg": signature(self._render_jpeg, landmarks),
            "describe": describe_signature(card),
        }

    def _serving_default(self, landmarks):
        frames, ok = self._frames(landmarks)
        return {"frames": frames, "ok": ok}

    def _render_jpeg(self, landmarks):
        frames, ok = self._frames(landmarks)
        return {"jpeg_bytes": self.renderer.jpeg(frames), "ok": ok}

    def _frames(self, landmarks):
        psi_hat = tf.repeat(self.psi_hat[None], tf.shape(landmarks)[0], axis=0)
        return self.renderer.frames(landmarks, psi_hat)


def signature(function, *specs: tf.TensorSpec):
    """`function` as a tf.function of fixed input shapes and names, ready to be a signature."""
    return tf.function(function, input_signature=list(specs), autograph=False)


def describe_signature(card: str):
    """The `describe` signature: `card` once for each row of `query`."""

    def describe(query):
        return {"card": tf.fill(tf.shape(query), card)}

    return signature(describe, tf.TensorSpec([None], tf.int32, "query"))
