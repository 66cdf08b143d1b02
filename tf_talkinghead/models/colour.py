"""Colour of frames of black-and-white photos: it is removed.

What G draws itself (teeth, lids) has the colours of the people it was trained on, so without this
step a black-and-white photo would get coloured parts.
"""

import tensorflow as tf

# Mean difference between a pixel's largest and smallest channel, levels of 255: photos below _GREY
# are black and white, photos above _COLOURED are in colour.
_GREY, _COLOURED = 2.0, 5.0
_EVERY = 4  # every fourth pixel of the photos, across and down, is examined
_LUMA = (0.299, 0.587, 0.114)


def as_colourful(x_hat, photos, rows):
    """`x_hat` without colour where the photos have none.

    Args:
      x_hat: float32 [B, H, W, 3] in [-1, 1].
      photos: [N, h, w, 3] in 0..255.
      rows: int32 [B, M], the photos of each frame.

    Returns:
      float32 [B, H, W, 3].
    """
    photos = tf.cast(tf.gather(photos[:, ::_EVERY, ::_EVERY], rows), tf.float32)
    spread = tf.reduce_max(photos, -1) - tf.reduce_min(photos, -1)
    spread = tf.reduce_mean(spread, [1, 2, 3])[:, None, None, None]
    share = tf.clip_by_value((spread - _GREY) / (_COLOURED - _GREY), 0.0, 1.0)
    grey = tf.reduce_sum(x_hat * tf.constant(_LUMA), -1, keepdims=True)
    return grey + share * (x_hat - grey)
