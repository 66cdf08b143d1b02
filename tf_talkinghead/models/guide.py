"""The guide: a guided generator's inputs made from a person's photos, for each frame."""

import tensorflow as tf

from tf_talkinghead.models import guidance
from tf_talkinghead.models.gaze import gaze_spots, look_aside


def make_guide(
    config,
    landmarks,
    photos,
    photo_landmarks,
    rows,
    shares,
    pupils=None,
    photo_pupils=None,
    small=None,
):
    """Makes the guide, the argument `guide` of a `GuidedGenerator`.

    Args:
      config: ModelConfig.
      landmarks: float32 [B, 68, 2], the target pose.
      photos: uint8 [N, S', S', 3].
      photo_landmarks: float32 [N, 68, 2].
      rows: int32 [B, M], the photos of each frame (`guidance.choose`).
      shares: float32 [B, M], their shares, which add up to 1.
      pupils: float32 [B, 2, 2] or None, the target's; NaN where unknown.
      photo_pupils: float32 [N, 2, 2] or None; NaN where unknown.
      small: the photos at the working size, [N, w, w, 3] in 0..255; computed if None.

    Returns:
      dict of tensors: `photos`, `rows` and `shares` as given; `small`, the photos at the working
      size; `flow` [B, M, F, F, 2]; `gaze` [B, w, w, 2] in [0, 1], spots at the target's pupils and
      at the first photo's pupils under its flow, 0 where unknown.
    """
    size = config.working_size
    flow = guidance.spline(landmarks, tf.gather(photo_landmarks, rows), config.flow_size)
    if small is None:
        small = tf.image.resize(tf.cast(photos, tf.float32), [size, size], method="area")
    if pupils is None or photo_pupils is None:
        gaze = tf.zeros([tf.shape(landmarks)[0], size, size, 2])
    else:
        places = tf.image.resize(flow[:, 0], [size, size])
        own = tf.gather(photo_pupils, rows[:, 0])
        # Gaze is moved from the photo's pupils to the target's: both must be known.
        known = tf.reduce_all(tf.math.is_finite(pupils) & tf.math.is_finite(own), [1, 2])
        gaze = tf.concat([gaze_spots(pupils, guidance.grid(size)), gaze_spots(own, places)], -1)
        gaze = tf.where(known[:, None, None, None], gaze, 0.0)
        own = tf.gather(photo_pupils, rows)
        flow = tf.stack(
            [look_aside(flow[:, m], landmarks, pupils, own[:, m]) for m in range(flow.shape[1])], 1
        )
    return {
        "photos": photos,
        "small": small,
        "rows": rows,
        "shares": shares,
        "flow": flow,
        "gaze": gaze,
    }


def own_photos(guide):
    """The photos of each frame at the working size, float32 [B, M, w, w, 3] in 0..255."""
    return tf.cast(tf.gather(guide["small"], guide["rows"]), tf.float32)


def warped(photos, guide, flow, size):
    """The photos warped by their flows and blended by their shares.

    Args:
      photos: [N, H, W, 3] in 0..255.
      guide: as from `make_guide`; its rows and shares are used.
      flow: float32 [B, M, F, F, 2].
      size: side of the result in pixels.

    Returns:
      float32 [B, size, size, 3] in [-1, 1].
    """
    total = 0.0
    for m in range(flow.shape[1]):
        places = resized(flow[:, m], size)
        pixels = guidance.sample(photos, guide["rows"][:, m], places)
        total += tf.reshape(guide["shares"][:, m], [-1, 1, 1, 1]) * pixels
    return total / 127.5 - 1.0


def resized(h, size):
    """`h` [B, H, H, C] interpolated to [B, size, size, C]."""
    return h if h.shape[1] == size else tf.image.resize(h, [size, size])
