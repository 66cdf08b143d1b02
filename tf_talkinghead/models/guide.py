"""The guide: a guided generator's inputs made from a person's photos, for each frame."""

import tensorflow as tf

from tf_talkinghead.models import guidance
from tf_talkinghead.models.gaze import gaze_spots, look_aside
from tf_talkinghead.models.morphing import morphed
from tf_talkinghead.models.source_choice import ALIKE

_PLAIN = 4  # side of the squares, in pixels of the working size, whose mean is not detail


def make_guide(
    config,
    landmarks,
    photos,
    photo_landmarks,
    choice,
    pupils=None,
    photo_pupils=None,
    small=None,
    offsets=None,
):
    """Makes the guide, the argument `guide` of a `GuidedGenerator`.

    Args:
      config: ModelConfig.
      landmarks: float32 [B, 68, 2], the target pose.
      photos: uint8 [N, S', S', 3].
      photo_landmarks: float32 [N, 68, 2].
      choice: the photos of each frame, `source_choice.Choice`.
      pupils: float32 [B, 2, 2] or None, the target's; NaN where unknown.
      photo_pupils: float32 [N, 2, 2] or None; NaN where unknown.
      small: the photos at the working size, [N, w, w, 3] in 0..255; computed if None.
      offsets: between the chosen photos, `morphing.offsets_between`; None: they are not morphed.

    Returns:
      dict of tensors: `photos` as given; `rows`, `shares` and `fine` of `choice`; `small`, the
      photos at the working size; `flow` [B, M, f, f, 2]; `gaze` [B, w, w, 2] in [0, 1], spots at
      the target's pupils and at the first photo's pupils under its flow, 0 where unknown.
    """
    size, rows = config.working_size, choice.rows
    flow = guidance.spline(landmarks, tf.gather(photo_landmarks, rows), config.flow_size)
    if offsets is not None:
        flow = morphed(flow, choice.shares, offsets)
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
        **choice._asdict(),
        "flow": flow,
        "gaze": gaze,
    }


def own_photos(guide):
    """The photos of each frame at the working size, float32 [B, M, w, w, 3] in 0..255."""
    return tf.cast(tf.gather(guide["small"], guide["rows"]), tf.float32)


def warped(photos, rows, shares, flow, size):
    """The photos warped by their flows and blended.

    Args:
      photos: [N, H, W, 3] in 0..255.
      rows: int32 [B, M], the photos of each frame.
      shares: float32 [B, K], K <= M: those of the first K photos, which are blended.
      flow: float32 [B, M, f, f, 2].
      size: side of the result in pixels.

    Returns:
      float32 [B, size, size, 3] in [-1, 1] where the shares add up to 1.
    """
    return _blend(_pixels(photos, rows, flow, size, shares.shape[1]), shares)


def photo_of(guide, flow, size):
    """The photo of each frame: coarse structure blended by `shares`, fine detail by `fine`.

    Two bands (Burt and Adelson, ACM Transactions on Graphics 1983), divided at the working size:
    what changes most from photo to photo, light and place, fades slowly from one to the next, while
    detail stays sharp.

    Args:
      guide: as from `make_guide`.
      flow: float32 [B, M, f, f, 2].
      size: side of the result in pixels.

    Returns:
      float32 [B, size, size, 3], nearly in [-1, 1].
    """
    small, rows, shares, fine = (guide[name] for name in ("small", "rows", "shares", "fine"))
    sharp = warped(guide["photos"], rows, fine, flow, size)
    if shares.shape[1] == 1:
        return sharp
    pixels = _pixels(small, rows, flow, small.shape[1], shares.shape[1])
    coarse = _contrasting(_blend(pixels, shares), shares)
    return sharp + resized(coarse - _blend(pixels, fine), size)


def _pixels(photos, rows, flow, size, count):
    """The first `count` photos warped, each float32 [B, size, size, 3] in 0..255."""
    return [guidance.sample(photos, rows[:, k], resized(flow[:, k], size)) for k in range(count)]


def _blend(pixels, shares):
    """Photos blended by `shares` [B, K], in [-1, 1] where they add up to 1."""
    weights = tf.unstack(shares[:, :, None, None, None], axis=1)
    total = tf.add_n([weight * photo for weight, photo in zip(weights, pixels)])
    return total / 127.5 - 1.0


def _contrasting(blend, shares):
    """`blend` [B, w, w, 3] of photos with the contrast of one photo.

    A blend of photos whose detail correlates by `ALIKE` has less contrast than each of them by the
    square root of sum(shares^2) + ALIKE (1 - sum(shares^2)).
    """
    side, alone = blend.shape[1], tf.reduce_sum(tf.square(shares), -1)[:, None, None, None]
    mean = resized(tf.nn.avg_pool2d(blend, _PLAIN, _PLAIN, "SAME"), side)
    return mean + (blend - mean) / tf.sqrt(alone + ALIKE * (1.0 - alone))


def resized(h, size):
    """`h` [B, H, H, C] interpolated to [B, size, size, C]."""
    return h if h.shape[1] == size else tf.image.resize(h, [size, size])
