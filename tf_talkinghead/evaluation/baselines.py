"""Model-free baselines: nearest reference frame and piecewise-affine warp.

    nearest(images, landmarks, driving)      # the image whose landmarks are nearest, unchanged
    warp(images, landmarks, driving)         # the same, warped onto the driving landmarks
    warp_aligned(images, landmarks, driving) # the image a guided avatar would choose, warped

`images` uint8 [T,H,W,3], `landmarks` float32 [T,68,2] and `driving` float32 [B,68,2] in fractions
of the crop -> uint8 [B,H,W,3].
"""

import numpy as np

from tf_talkinghead.faces import warping


def nearest_index(landmarks, driving):
    """Index of the reference image nearest to each driving pose, by mean distance of the points.

    Args:
      landmarks: float [T,68,2]. driving: float [B,68,2].

    Returns:
      int [B], 0..T-1.
    """
    landmarks, driving = np.asarray(landmarks, np.float64), np.asarray(driving, np.float64)
    distance = np.linalg.norm(landmarks[None] - driving[:, None], axis=-1).mean(-1)
    return distance.argmin(1)


def nearest(images, landmarks, driving):
    """The reference image nearest to each driving pose, uint8 [B,H,W,3]."""
    return np.asarray(images)[nearest_index(landmarks, driving)]


def warp(images, landmarks, driving):
    """The nearest reference image, warped onto the driving landmarks, uint8 [B,H,W,3].

    The frame's border stays in place.
    """
    return _warped(images, landmarks, driving, nearest_index(landmarks, driving))


def warp_aligned(images, landmarks, driving):
    """The reference image that a guided avatar would choose, warped as `warp` does.

    The choice is by `models.source_choice.distances`. uint8 [B,H,W,3].
    """
    import tensorflow as tf

    from tf_talkinghead.models import source_choice

    far = source_choice.distances(
        tf.constant(driving, tf.float32), tf.constant(landmarks, tf.float32)
    )
    return _warped(images, landmarks, driving, far.numpy().argmin(1))


def _warped(images, landmarks, driving, chosen):
    images, landmarks = np.asarray(images), np.asarray(landmarks)
    return np.stack(
        [
            warping.warp(images[i], landmarks[i], to)
            for i, to in zip(chosen, np.asarray(driving), strict=True)
        ]
    )
