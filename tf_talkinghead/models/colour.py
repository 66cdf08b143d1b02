"""Black-and-white photos give black-and-white frames: what G draws itself (teeth, lids) has the
colours of the people it was trained on.
"""

import tensorflow as tf

# Mean distance between a pixel's largest and smallest channel, grey levels: photos below the first
# are black and white, above the second in colour.
_GREY, _COLOURED = 2.0, 5.0
_EVERY = 4  # pixel of the photos, across and down, is looked at
_LUMA = (0.299, 0.587, 0.114)


def as_colourful(x_hat, photos, rows):
    """`x_hat` without colour where the photos have none.

    Args:
      x_hat: float32 [B, H, W, 3] in [-1, 1]. photos: [N, h, w, 3] in 0..255. rows: int32 [B, M],
        those of each frame.

    Returns:
      float32 [B, H, W, 3].
    """
    photos = tf.cast(tf.gather(photos[:, ::_EVERY, ::_EVERY], rows), tf.float32)
    spread = tf.reduce_max(photos, -1) - tf.reduce_min(photos, -1)
    spread = tf.reduce_mean(spread, [1, 2, 3])[:, None, None, None]
    share = tf.clip_by_value((spread - _GREY) / (_COLOURED - _GREY), 0.0, 1.0)
    grey = tf.reduce_sum(x_hat * tf.constant(_LUMA), -1, keepdims=True)
    return grey + share * (x_hat - grey)
