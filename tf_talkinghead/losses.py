"""Loss terms (Sec. 3.2 and 4) as pure functions of tensors; callers apply the weights.

Every L1 is the mean over elements and the batch, summed over layers. Sums run in float32 whatever
the inputs' dtype; each loss is a float32 scalar. Which variables receive a gradient is decided by
the caller: no function here refers to a network.
"""

import tensorflow as tf

_PARTS = ((36, 42), (42, 48), (48, 68))  # landmarks of the right eye, the left eye, the mouth


def l1(a, b):
    """Mean absolute difference over all elements, a scalar."""
    return tf.reduce_mean(tf.abs(_float(a) - _float(b)))


def content(real, fake):
    """L1 between two lists of activations, summed over the list; no gradient to the real ones."""
    return tf.add_n([l1(tf.stop_gradient(r), f) for r, f in zip(real, fake, strict=True)])


def feature_matching(real, fake):
    """L1 between V's activations after each block, for the real and the rendered frame.

    The paper's weight is 10.
    """
    return content(real, fake)


def adversarial(score_fake):
    """-D(x_hat, y, i) for scores [B], averaged over the batch: the adversarial loss of E, G, P."""
    return -tf.reduce_mean(_float(score_fake))


def discriminator_hinge(score_real, score_fake):
    """Hinge loss of the discriminator (V, W, w_0, b) for scores [B], averaged over the batch.

    max(0, 1 + D(x_hat)) + max(0, 1 - D(x)).
    """
    return tf.reduce_mean(
        tf.nn.relu(1.0 + _float(score_fake)) + tf.nn.relu(1.0 - _float(score_real))
    )


def match(e_hat, W_i):
    """L1 between e_hat [B, N] and the rows W_i [B, N]; gradients reach both."""
    return l1(e_hat, W_i)


def pixel(x, x_hat):
    """L1 between images [B, H, W, 3] in [-1, 1]."""
    return l1(x, x_hat)


def gradient(x, x_hat):
    """L1 between image gradients, horizontal plus vertical; images [B, H, W, 3] in [-1, 1]."""
    x, x_hat = _float(x), _float(x_hat)
    horizontal = l1(x[:, :, 1:] - x[:, :, :-1], x_hat[:, :, 1:] - x_hat[:, :, :-1])
    vertical = l1(x[:, 1:] - x[:, :-1], x_hat[:, 1:] - x_hat[:, :-1])
    return horizontal + vertical


def structure(x, x_hat):
    """1 - SSIM (Gaussian window of 11 pixels), averaged over the batch.

    Images [B, H, W, 3] in [-1, 1], at least 11 pixels high and wide.
    """
    return 1.0 - tf.reduce_mean(tf.image.ssim(_float(x), _float(x_hat), max_val=2.0))


def face_boxes(landmarks, margin):
    """Square boxes [B, 4] (top, left, bottom, right; fractions) around landmarks [B, 68, 2].

    The side is the larger side of the landmarks' bounding box, extended by `margin` of it at each
    edge.
    """
    low, high = tf.reduce_min(landmarks, axis=1), tf.reduce_max(landmarks, axis=1)  # [B, 2] (x, y)
    centre = (low + high) / 2
    half = tf.reduce_max(high - low, axis=-1, keepdims=True) * (0.5 + margin)
    return tf.concat([(centre - half)[:, ::-1], (centre + half)[:, ::-1]], axis=-1)


def part_boxes(landmarks, margin):
    """Square boxes [B, 3, 4] around right eye, left eye and mouth of landmarks [B, 68, 2].

    Boxes are as in `face_boxes`. `margin` should be large enough for the eyes' boxes to reach the
    brows, since a blink changes the lids and their shadows.
    """
    return tf.stack(
        [face_boxes(landmarks[:, first:last], margin) for first, last in _PARTS], axis=1
    )


def crop_faces(images, boxes, size):
    """Crops boxes from images and resamples them; differentiable in the images.

    Args:
      images: [B, H, W, 3].
      boxes: [B, 4], (top, left, bottom, right) as fractions of the image. As for landmarks, 0 is
        the left edge of the first pixel, not its centre.
      size: side of the crops in pixels.

    Returns:
      float32 [B, size, size, 3].
    """
    height, width = tf.unstack(tf.cast(tf.shape(images)[1:3], tf.float32))
    scale = tf.stack([height, width, height, width])
    # crop_and_resize counts from pixel centres and puts its first and last samples on the box's
    # edges: move the edges in by half a sample, then from edge-based to centre-based coordinates.
    inset = (boxes[:, 2:] - boxes[:, :2]) / (2 * size)
    boxes = boxes + tf.concat([inset, -inset], axis=-1)
    boxes = (boxes * scale - 0.5) / (scale - 1.0)
    return tf.image.crop_and_resize(
        _float(images), boxes, tf.range(tf.shape(images)[0]), [size, size]
    )


def _float(tensor):
    return tf.cast(tensor, tf.float32)
