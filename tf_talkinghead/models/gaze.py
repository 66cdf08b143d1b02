"""Gaze of a guided generator: pupils drawn as spots, and a flow that moves the photo's pupils.

Pupils are float32 [B, 2, 2], (x, y) in fractions of the picture, the person's right eye first; NaN
where they are not known.
"""

import tensorflow as tf

from tf_talkinghead.models.guidance import grid

_GAZE_WIDTH = 0.012  # of the picture: standard deviation of the spot that marks a pupil
# Area that moves with a pupil: standard deviations across and down, shares of the eye's width. Wide
# enough for the iris to keep its shape, narrow enough for corners and lids to stay in place.
_ACROSS, _DOWN = 0.35, 0.21
# Lid openings (distance over the eye's width) of shut and of open eyes: pupils of shut eyes are not
# moved.
_SHUT, _OPEN = 0.1, 0.2
_EYES = (
    (36, 39, (37, 38), (41, 40)),
    (42, 45, (43, 44), (47, 46)),
)  # corners, upper and lower lids


def gaze_spots(pupils, places):
    """Pupils as Gaussian spots; a pupil that is not finite (unknown) is not drawn.

    Args:
      pupils: float32 [B, 2, 2].
      places: float32 [B, h, w, 2] or [h, w, 2], the position of each pixel in the pupils' picture:
        the target's grid for target pupils, a flow for source pupils.

    Returns:
      float32 [B, h, w, 1] in [0, 1].
    """
    known = tf.reduce_all(tf.math.is_finite(pupils), -1)[:, None, None]  # [B, 1, 1, 2]
    centres = tf.where(tf.math.is_finite(pupils), pupils, 0.0)[:, None, None]
    squared = tf.reduce_sum(tf.square(places[..., None, :] - centres), -1)
    spots = tf.where(known, tf.exp(-squared / (2 * _GAZE_WIDTH**2)), 0.0)
    return tf.reduce_max(spots, -1, keepdims=True)


def look_aside(flow, landmarks, pupils, source_pupils):
    """The flow changed so that each pupil comes from the source's pupil; the eye's outline stays.

    Args:
      flow: float32 [B, F, F, 2], where each pixel comes from.
      landmarks: float32 [B, 68, 2], the target's.
      pupils, source_pupils: float32 [B, 2, 2], the target's and the source's. Where one of them is
        unknown, the flow is not changed.

    Returns:
      float32 [B, F, F, 2].
    """
    known = tf.reduce_all(tf.math.is_finite(pupils) & tf.math.is_finite(source_pupils), [1, 2])
    places, cells = grid(flow.shape[1]), flow.shape[1] ** 2
    shifts = tf.zeros_like(flow)
    for eye, (first, last, upper, lower) in enumerate(_EYES):
        pupil = tf.where(known[:, None], pupils[:, eye], 0.5)[:, None, None]  # [B, 1, 1, 2]
        source = tf.where(known[:, None], source_pupils[:, eye], 0.5)
        width = tf.norm(landmarks[:, last] - landmarks[:, first], axis=-1)
        lids = tf.gather(landmarks, lower, axis=1) - tf.gather(landmarks, upper, axis=1)
        opening = tf.reduce_mean(tf.norm(lids, axis=-1), -1) / tf.maximum(width, 1e-6)
        share = tf.clip_by_value((opening - _SHUT) / (_OPEN - _SHUT), 0.0, 1.0)
        share *= tf.cast(known, tf.float32)
        # Where the given flow takes the pupil from: its offset, averaged closely around the pupil.
        off = places - pupil
        closeness = -tf.reduce_sum(tf.square(off), -1) / (2 * _GAZE_WIDTH**2)
        near = tf.nn.softmax(tf.reshape(closeness, [-1, cells]))
        offsets = tf.reshape(flow - places, [-1, cells, 2])
        before = tf.reduce_sum(near[..., None] * offsets, 1) + pupil[:, 0, 0]
        reach = tf.maximum(width, 1e-6)[:, None, None]
        bump = tf.exp(
            -tf.square(off[..., 0] / (_ACROSS * reach)) / 2
            - tf.square(off[..., 1] / (_DOWN * reach)) / 2
        )
        shift = share[:, None] * (source - before)
        shifts += bump[..., None] * shift[:, None, None]
    return flow + shifts
