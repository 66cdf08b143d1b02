"""A frame from landmarks: drawing, guide and generator, the same in previews and exports."""

import tensorflow as tf

from tf_talkinghead.data.drawing import draw_landmarks
from tf_talkinghead.models import source_choice
from tf_talkinghead.models.guide import make_guide
from tf_talkinghead.models.morphing import offsets_between

_LEAST_EYES, _LEAST_SIDE = 0.01, 0.02  # of the crop: smaller faces cannot be rendered
_FARTHEST = 1.0  # how far beyond the crop's edge a face's middle may lie, in crops


def render_direct(config, network, landmarks, psi_hat):
    """x_hat [B, S, S, 3] by `network(y, psi_hat)`; landmarks [B, 68, 2], psi_hat [B, A]."""
    return network(draw_landmarks(landmarks, config.working_size), psi_hat)


def render_guided(
    config,
    network,
    landmarks,
    psi_hat,
    photos,
    small,
    photo_landmarks,
    pupils=None,
    photo_pupils=None,
    offsets=None,
):
    """x_hat [B, S, S, 3] by `network(y, guide, psi_hat)`, photos chosen by the landmarks.

    Args:
      config: ModelConfig.
      network: a `FoldedGuidedGenerator`, or a function that stands for one.
      landmarks: float32 [B, 68, 2], for which `has_face` holds. psi_hat: float32 [B, A].
      photos: uint8 [N, S', S', 3]; small: the same at the working size, uint8.
      photo_landmarks: float32 [N, 68, 2].
      pupils: float32 [B, 2, 2] or None; photo_pupils: float32 [N, 2, 2] or None; NaN where unknown.
      offsets: float16 [N, N, g, g, 2] between the photos, or None.
    """
    choice = source_choice.choose(landmarks, photo_landmarks)
    if offsets is not None:
        offsets = offsets_between(offsets, choice.rows)
    guide = make_guide(
        config, landmarks, photos, photo_landmarks, choice, pupils, photo_pupils, small, offsets
    )
    return network(draw_landmarks(landmarks, config.working_size), guide, psi_hat)


def has_face(landmarks):
    """Whether landmarks [B, 68, 2] can be a face in or near the picture, bool [B].

    False for points that are not finite, all in one place or on one line, and for faces far off.
    """
    finite = tf.reduce_all(tf.math.is_finite(landmarks), [1, 2])
    points = tf.where(finite[:, None, None], landmarks, 0.0)
    low, high = tf.reduce_min(points, 1), tf.reduce_max(points, 1)
    eyes = tf.reduce_mean(points[:, 42:48], 1) - tf.reduce_mean(points[:, 36:42], 1)
    middle = (low + high) / 2.0
    centred = points - tf.reduce_mean(points, 1, keepdims=True)
    spread = tf.reduce_sum(centred[..., :, None] * centred[..., None, :], 1)  # [B, 2, 2]
    trace, area = tf.linalg.trace(spread), tf.linalg.det(spread)
    return (
        finite
        & (tf.norm(eyes, axis=-1) > _LEAST_EYES)
        & tf.reduce_all(high - low > _LEAST_SIDE, -1)
        & (area > 1e-3 * tf.square(trace))  # not on one line
        & tf.reduce_all((middle > -_FARTHEST) & (middle < 1.0 + _FARTHEST), -1)
        & (tf.reduce_max(high - low, -1) < 2.0 * (1.0 + _FARTHEST))
    )
