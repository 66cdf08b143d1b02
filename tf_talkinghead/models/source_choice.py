"""The choice of sources: which of a person's photos a frame shows, and how much of each.

    landmarks l_t [B, 68, 2], those of N sources  ->  rows [B, M], shares [B, M], fine [B, F]

Shares are kriging weights, which interpolate between photos as between measurements: at the pose of
a photo it is seen alone, and on the way to another one its share falls evenly. So in a slow turn
the picture changes all the way, and never in a few frames.

"Source" and "photo" mean the same here. Points are (x, y) in fractions of the square picture.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

BLENDED, FINE = 8, 2  # sources that are blended in a frame, and those whose fine detail is seen
# Weight of the plain squared distance beside the aligned one, see `distances`.
_PLACE = 0.05
# Exponent of the kriging weights: a larger one shows more of the nearest source, and a turn is less
# even. Chosen on the group `choose`, as `NUGGET`.
POWER = 1.5
# Correlation of the fine detail of two photos after warping: a blend has less contrast than one.
ALIKE = 0.5
_SURE = 0.7  # sum of the weights of fine detail below which they are not full shares
# Variance of a source's own pose, in the units of `distances`: sources that nearly coincide share
# their weight, and the equations stay solvable.
NUGGET = 0.02

# Weights of points in `distances`: eyes and mouth count double, since warping renders them worst.
_COMPARED = np.ones(68, np.float32)
_COMPARED[36:68] = 2.0
_COMPARED /= _COMPARED.sum()


def distances(landmarks, source_landmarks):
    """Distance of each source's face from the target face; place, size and roll count little.

    Shift, scale and rotation in the plane do not harm the face of a warped photo, but they move
    hair and background too. So `_PLACE` of the squared plain distance, a weight chosen on twelve
    people, is added to the squared distance of the aligned points.

    Args:
      landmarks: float32 [B, 68, 2].
      source_landmarks: float32 [N, 68, 2] or [B, N, 68, 2].

    Returns:
      float32 [B, N]: root mean square distance of the aligned points (eyes and mouth weighed
      double) over the target's eye distance.
    """
    target = tf.complex(landmarks[..., 0], landmarks[..., 1])[:, None]  # [B, 1, 68]
    source = tf.complex(source_landmarks[..., 0], source_landmarks[..., 1])
    source = source if source.shape.rank == 3 else source[None]  # [B or 1, N, 68]
    weights = tf.constant(_COMPARED, tf.complex64)
    plain = tf.reduce_sum(_COMPARED * tf.square(tf.abs(target - source)), -1)
    eyes = tf.abs(tf.reduce_mean(target[..., 42:48], -1) - tf.reduce_mean(target[..., 36:42], -1))
    target -= tf.reduce_sum(weights * target, -1, keepdims=True)
    source -= tf.reduce_sum(weights * source, -1, keepdims=True)
    # In the plane rotation and scale are one complex number a: least squares of target - a source.
    product = tf.reduce_sum(weights * tf.math.conj(source) * target, -1)  # [B, N]
    power = tf.reduce_sum(_COMPARED * tf.square(tf.abs(source)), -1)
    rest = tf.reduce_sum(_COMPARED * tf.square(tf.abs(target)), -1)
    rest -= tf.square(tf.abs(product)) / tf.maximum(power, 1e-9)
    return tf.sqrt(tf.maximum(rest, 0.0) + _PLACE * plain) / tf.maximum(eyes, 1e-3)


class Choice(NamedTuple):
    """The photos of each frame.

    Attributes:
      rows: int32 [B, M], those with the largest shares first.
      shares: float32 [B, M], how much of each is seen; they add up to 1.
      fine: float32 [B, F], F <= M: the same for fine detail, of the first F only. They add up to
        less than 1 where more than F are equally near, and to more where a blend has to make up
        for contrast that it loses.
    """

    rows: tf.Tensor
    shares: tf.Tensor
    fine: tf.Tensor


def choose(landmarks, source_landmarks, allowed=None):
    """Chooses the sources of each frame, and their shares, continuously in the landmarks.

    Up to `BLENDED` sources are blended. Of fine detail, which a blend of many would blur, the first
    `FINE` are seen.

    Args:
      landmarks: float32 [B, 68, 2].
      source_landmarks: float32 [N, 68, 2] or [B, N, 68, 2], N >= 1.
      allowed: int32 [B]; only the first so many sources may be chosen. None: all.

    Returns:
      `Choice` with M = min(N, BLENDED) and F = min(N, FINE).
    """
    count = source_landmarks.shape[-3]
    weights = tf.nn.relu(_kriging_weights(landmarks, source_landmarks, allowed))
    # The first has a little more: no sum below is 0, and none but allowed ones are ever first.
    weights, rows = tf.math.top_k(weights, min(count, BLENDED + 1))
    weights += 1e-6 * tf.one_hot(0, weights.shape[1])
    weights = (weights / weights[:, :1]) ** POWER
    shares = _first(weights, BLENDED) + 1e-6 * tf.one_hot(0, min(count, BLENDED))
    shares /= tf.reduce_sum(shares, -1, keepdims=True)
    fine = _first(weights, FINE)
    total, alone = tf.reduce_sum(fine, -1), tf.reduce_sum(tf.square(fine), -1)
    # The contrast of a sum of patterns that correlate by ALIKE, over that of one pattern. Where
    # several are equally near, full contrast would pass from one to the other in no time.
    contrast = tf.sqrt(ALIKE * tf.square(total) + (1.0 - ALIKE) * alone)
    return Choice(rows[:, :BLENDED], shares, fine / tf.maximum(contrast, _SURE)[:, None])


def _first(weights, count):
    """The first `count` of descending weights [B, N], less the next one.

    So a source comes and goes with a weight of 0.
    """
    if weights.shape[1] <= count:
        return weights
    return weights[:, :count] - weights[:, count : count + 1]


def _kriging_weights(landmarks, source_landmarks, allowed):
    """Weights [B, N] of ordinary kriging with the variogram gamma(h) = h; they add up to 1.

    They minimise the expected error of a quantity that is known at the sources and whose squared
    difference between two poses grows as their distance (Matheron, Economic Geology 1963). On a
    line this is linear interpolation between neighbours.
    """
    count = source_landmarks.shape[-3]
    batched = source_landmarks.shape.rank == 4
    own = source_landmarks if batched else source_landmarks[None]  # [B or 1, N, 68, 2]
    frames = tf.shape(own)[0]
    apart = distances(
        tf.reshape(own, [-1, *own.shape[2:]]), tf.repeat(own, count, axis=0)
    )  # [(B or 1) N, N]
    apart = tf.reshape(apart, [-1, count, count])
    apart = (apart + tf.transpose(apart, [0, 2, 1])) / 2.0
    noise = tf.fill([frames, count], NUGGET)
    if allowed is not None:
        noise = tf.where(tf.range(count)[None] < allowed[:, None], noise, 1e6)
    ones = tf.ones([frames, count, 1])
    system = tf.concat([apart - tf.linalg.diag(noise), ones], 2)
    last = tf.concat([tf.transpose(ones, [0, 2, 1]), tf.zeros([frames, 1, 1])], 2)
    system = tf.concat([system, last], 1)  # [B or 1, N + 1, N + 1]
    far = tf.pad(distances(landmarks, source_landmarks), [[0, 0], [0, 1]], constant_values=1.0)
    if batched:
        return tf.linalg.solve(system, far[..., None])[:, :count, 0]
    return tf.transpose(tf.linalg.solve(system[0], tf.transpose(far)))[:, :count]
