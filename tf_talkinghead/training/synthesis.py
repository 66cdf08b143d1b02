"""Inputs and outputs of a training step, for both generators: the paper's and the guided one.

They are the drawing y, e_hat, x_hat and the part of a frame that D sees. `part` is a batch of
data/episodes.py, or a micro-batch of it; y is the target's drawing at `config.working_size`.
"""

import tensorflow as tf

from tf_talkinghead.data.drawing import draw_landmarks
from tf_talkinghead.images import to_float
from tf_talkinghead.models import guidance, source_choice
from tf_talkinghead.models.guide import make_guide


def target_drawing(part, config):
    """The drawing y of a batch's target frames, float32 [B, w, w, 3]."""
    with tf.name_scope("drawing"):
        return draw_landmarks(part["landmarks"], config.working_size)


def synthesise(E, G, part, y):
    """(x_hat [B, S, S, 3], e_hat [B, N]) of a batch (Sec. 3.2).

    e_hat is the mean of E over K context frames, and x_hat = G(y, e_hat).
    """
    config = G.config
    e_hat = embed_context(E, part["context_images"], part["context_landmarks"])
    if config.generator == "direct":
        return G(y, e_hat=e_hat), e_hat
    return G(y, _guide(part, config), e_hat=e_hat), e_hat


def embed_context(E, images, landmarks):
    """e_hat [B, N] of context frames uint8 [B, K, S, S, 3] with landmarks [B, K, 68, 2]."""
    size, shots = E.config.working_size, images.shape[1]
    with tf.name_scope("drawing"):
        y = tf.reshape(draw_landmarks(landmarks, size), [-1, size, size, 3])
    x = to_float(shrunk(tf.reshape(images, [-1, *images.shape[2:]]), size))
    return tf.reduce_mean(tf.reshape(E(x, y), [-1, shots, E.config.embedding_size]), axis=1)


def discriminated(x, y, part, config):
    """The part of x [B, S, S, 3] that D scores, with its drawing y.

    For the paper's generator it is the whole frame. For a guided generator, whose D works at half
    the size, it is a window of the frame at full size, since sharpness shows only there; L1 and
    SSIM already control the picture as a whole. The window is half the picture wide and lies near
    the face, at the place given by `part["window"]`.

    Returns:
      (x, y), both [B, w, w, 3].
    """
    if config.generator == "direct":
        return x, y
    size, window = config.image_size, config.working_size
    points = part["landmarks"]
    face = (tf.reduce_min(points, 1) + tf.reduce_max(points, 1)) / 2.0  # [B, 2]
    corner = face - 0.25 + 0.5 * (part["window"] - 0.5)
    first = tf.cast(tf.round(tf.clip_by_value(corner, 0.0, 0.5) * size), tf.int32)  # [B, 2] x, y
    span = tf.range(window)[None]
    x = tf.gather(x, first[:, 1:] + span, axis=1, batch_dims=1)
    x = tf.gather(x, first[:, :1] + span, axis=2, batch_dims=1)
    moved = (points - tf.cast(first, tf.float32)[:, None] / size) * (size / window)
    with tf.name_scope("drawing"):
        return x, draw_landmarks(moved, window)


def _guide(part, config):
    """The guide of a batch: the first `part["sources"]` context frames serve as the photos."""
    images, landmarks = part["context_images"], part["context_landmarks"]
    shots = images.shape[1]
    choice = source_choice.choose(part["landmarks"], landmarks, part["sources"])
    first = shots * tf.range(tf.shape(landmarks)[0])[:, None]
    return make_guide(
        config,
        part["landmarks"],
        tf.reshape(images, [-1, *images.shape[2:]]),
        tf.reshape(landmarks, [-1, *landmarks.shape[2:]]),
        choice._replace(rows=first + choice.rows),
        part["pupils"],
        tf.reshape(part["context_pupils"], [-1, guidance.PUPILS, 2]),
    )


def shrunk(images, size):
    """Images [B, H, H, 3] reduced to `size` by area averaging, in the same range of values."""
    if images.shape[1] == size:
        return images
    return tf.image.resize(tf.cast(images, tf.float32), [size, size], method="area")
