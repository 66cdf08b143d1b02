"""Embedding of the watermark in a batch of frames, as TensorFlow ops inside the served graph.

    c        local contrast: standard deviation of the luma without its local mean   (128 x 128)
    m        strength sqrt(c^2 + FLATNESS^2), scaled so that SSIM and PSNR keep their bounds
    frame + m * pattern

The mark is strong in texture, where the eye does not notice it, and weak on skin and flat areas.
The pattern is one constant, so the mark does not flicker and costs no transform. Subtracting the
frame's own correlation (improved spread spectrum: H. S. Malvar and D. A. F. Florencio, IEEE Trans.
Signal Processing 51(4), 2003) was tried and left out: after H.264 at crf 28 the score was 12.1
standard deviations without it and 10.3 with it (six clips, with the strengths of that time), since
it uses up energy of the mark.
"""

import functools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tf_talkinghead.watermark.pattern import CANVAS, Pattern

# Frames with fewer pixels a side carry no mark: the pattern would be too fine to survive.
SMALLEST = 128

PSNR = 42.15  # dB against the unmarked frame, at least; rounding to uint8 takes 0.1 dB of it
LUMA = (0.299, 0.587, 0.114)

_FLATNESS = 1.3  # grey levels: the contrast that flat areas count as
_CEILING = 12.0  # grey levels: more contrast hides no more, and would use up the PSNR of the rest
_DARKNESS = 10.0  # grey levels: darker areas, where SSIM tolerates little, are marked less
_FLAT_STRENGTH = 0.5  # grey levels, standard deviation of the mark in flat areas, at most
# SSIM falls in step with the mean of m^2 / (2 v + C2), where v is the variance in SSIM's own small
# window and C2 its constant, (.03 * 255)^2. On 105 clips the fall was .67 to .82 times that mean
# (90 % of frames; .90 at most).
_SSIM_LOSS = 0.0163
_C2 = (0.03 * 255) ** 2
_SSIM_WINDOW = 3  # samples of the canvas, 6 pixels at 256 px; SSIM's is 7 pixels
_NEIGHBOURHOOD = 5  # samples of the canvas


class Embedder(tf.Module):
    """Marks frames of one size: all with one id, or each row of a batch with one of several ids."""

    def __init__(self, pattern: Pattern, identities: int | Sequence[int], size: int):
        """Precomputes the pattern of each id.

        Args:
          pattern: the key's pattern.
          identities: the avatar's id, 32 bits, or the ids of a bank's members.
          size: pixels a side of the frames, SMALLEST or more.
        """
        super().__init__(name="watermark")
        if size < SMALLEST:
            raise ValueError(f"expected frames of {SMALLEST} px or more, got {size}")
        self._size = size
        if isinstance(identities, int):
            self._pattern = pattern.picture(size, identities)
        else:  # a variable: a graph holds 2 GB at most
            pictures = np.float16([pattern.picture(size, each) for each in identities])
            self.patterns = tf.Variable(pictures, trainable=False, name="patterns")

    def __call__(self, frames, which=None):
        """Marks frames float32 [B, S, S, 3] in 0 to 255; the result is in 0 to 255, not rounded.

        which: int32 [B], the index of each row's id among several; None with one id.
        """
        if which is None:
            pattern = tf.constant(self._pattern)[None]
        else:
            pattern = tf.cast(tf.gather(self.patterns, which), tf.float32)
        strength = tf.image.resize(self._strength(frames), [self._size, self._size], "bilinear")
        mark = strength * pattern[..., None]
        power = tf.reduce_mean(tf.square(mark), [1, 2, 3], keepdims=True)
        limit = np.float32(255.0**2 / 10 ** (PSNR / 10))
        mark *= tf.minimum(1.0, tf.math.rsqrt(tf.maximum(power, 1e-6) / limit))
        return tf.clip_by_value(frames + mark, 0.0, 255.0)

    def _strength(self, frames):
        """Standard deviation of the mark in levels, [B, 128, 128, 1]."""
        luma = self._canvas(frames)
        mean = _blur(luma)
        contrast = tf.sqrt(_blur(tf.square(luma - mean)))
        # The least contrast nearby: a flat area beside an edge hides nothing.
        least = -tf.nn.max_pool2d(-contrast, 3, 1, "SAME")
        strength = tf.minimum(tf.sqrt(tf.square(least) + _FLATNESS**2), _CEILING)
        strength *= mean / tf.sqrt(tf.square(mean) + _DARKNESS**2)
        squares = _blur(tf.square(luma), _SSIM_WINDOW)
        variance = tf.maximum(squares - tf.square(_blur(luma, _SSIM_WINDOW)), 0.0)
        loss = tf.square(strength) / (2 * variance + _C2)
        loss = tf.reduce_mean(loss, [1, 2, 3], keepdims=True)
        return strength * tf.minimum(tf.sqrt(_SSIM_LOSS / loss), _FLAT_STRENGTH / _FLATNESS)

    def _canvas(self, frames):
        """Luma [B, 128, 128, 1] of the frames."""
        if self._size % CANVAS:
            frames = tf.image.resize(frames, [CANVAS, CANVAS], "bilinear", antialias=True)
        elif self._size > CANVAS:
            factor = self._size // CANVAS
            frames = tf.nn.avg_pool2d(frames, factor, factor, "VALID")
        return tf.reduce_sum(frames * tf.constant(LUMA), -1, keepdims=True)


def mark_frames(frames: np.ndarray, pattern: Pattern, identity: int) -> np.ndarray:
    """Frames uint8 [T, S, S, 3] marked as the served graph marks them."""
    embedder = Embedder(pattern, identity, frames.shape[1])

    @functools.partial(tf.function, reduce_retracing=True)
    def embed(part):
        return tf.cast(tf.round(embedder(tf.cast(part, tf.float32))), tf.uint8)

    parts = [embed(tf.constant(frames[i : i + 16])) for i in range(0, len(frames), 16)]
    return np.concatenate([part.numpy() for part in parts])


def _blur(pictures, side=_NEIGHBOURHOOD):
    """Mean of the square of `side` samples around each sample."""
    return tf.nn.avg_pool2d(pictures, side, 1, "SAME")
