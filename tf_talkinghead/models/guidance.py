"""Guidance of the guided generator: a person's own photos, warped by landmarks to the target pose.

    landmarks l_t [B, 68, 2], sources x_s [N, S, S, 3] with l_s [N, 68, 2]
      spline          thin-plate spline (Bookstein, PAMI 1989) through the points, target ->
                      source, on a coarse grid: the flow
      sample          the sources' pixels under that flow

"Source" and "photo" mean the same here. Everything is standard TensorFlow, batched, and gives the
same result eagerly, in a training step and in a SavedModel. Points and flows are (x, y) in
fractions of the square picture, y downwards; 0.5, 0.5 is its centre.

After Zakharov et al., ECCV 2020 (a warped texture combined with a predicted picture) and
thin-plate-spline motion models (Zhao and Zhang, CVPR 2022); here the 68 landmarks replace learned
key points.
"""

import numpy as np
import tensorflow as tf

LANDMARKS, PUPILS = 68, 2
STRETCH_LIMIT = 3.0  # bound of `stretch`, the logarithm of an area ratio
# Smoothing of the spline: points that coincide on one side (closed lips) cannot all be matched.
STIFFNESS = 2e-5
_REACH = 0.6  # share of the distance to the border by which a point of the outline moves at most

# The head's outline above the brows, where there are no landmarks: points on an ellipse that moves
# with the skull, placed by the similarity that maps the mean face's rigid points to the landmarks.
# Coordinates are relative to the middle between the eyes, in units of the eye distance; means over
# the training clips.
_RIGID = (0, 16, 27, 31, 33, 35, 36, 39, 42, 45)
_RIGID_PLACES = np.array(
    [(-1.146, 0.061), (1.146, 0.061), (0.0, -0.043), (-0.227, 0.679), (0.0, 0.754), (0.227, 0.679)]
    + [(-0.691, 0.008), (-0.298, 0.025), (0.298, 0.025), (0.691, 0.008)],
    np.float32,
)
_ANGLES = np.deg2rad(180.0 + (np.arange(8) + 0.5) * 180.0 / 8)
_OUTLINE = np.stack([1.2 * np.cos(_ANGLES), 0.06 + 1.83 * np.sin(_ANGLES)], -1).astype(np.float32)
_STEPS = np.arange(4) / 4.0
_BORDER = np.concatenate(
    [
        np.stack([_STEPS, 0 * _STEPS], -1),
        np.stack([0 * _STEPS + 1, _STEPS], -1),
        np.stack([1 - _STEPS, 0 * _STEPS + 1], -1),
        np.stack([0 * _STEPS, 1 - _STEPS], -1),
    ]
).astype(np.float32)  # [16, 2]: stays in place


def control_points(landmarks):
    """The spline's points [..., 92, 2]: landmarks, head outline above the brows, picture border."""
    rigid = tf.gather(landmarks, _RIGID, axis=-2)
    matrix, offset = _similarity(_RIGID_PLACES, rigid)
    outline = _applied(matrix, _OUTLINE) + offset
    border = tf.broadcast_to(
        tf.constant(_BORDER), tf.concat([tf.shape(landmarks)[:-2], _BORDER.shape], 0)
    )
    return tf.concat([landmarks, outline, border], -2)


def spline(landmarks, source_landmarks, size):
    """The flow from the target to each source: thin-plate splines through `control_points`.

    Args:
      landmarks: float32 [B, 68, 2].
      source_landmarks: float32 [B, M, 68, 2].
      size: side of the grid on which the flow is computed.

    Returns:
      float32 [B, M, size, size, 2], positions in the source as fractions; the grid's cells have
      their centres at (i + 1/2) / size. Gradients are stopped: the flow is an input of the
      generator.
    """
    target = control_points(tf.stop_gradient(landmarks))  # [B, P, 2]
    source = control_points(tf.stop_gradient(source_landmarks))  # [B, M, P, 2]
    source = _held_near_border(target, source)
    points, sources = target.shape[1], source.shape[1]
    # The unknown is the displacement, so far from all points the map is nearly the identity.
    shift = tf.transpose(source - target[:, None], [0, 2, 1, 3])
    shift = tf.pad(tf.reshape(shift, [-1, points, sources * 2]), [[0, 0], [0, 3], [0, 0]])
    affine = tf.concat([tf.ones_like(target[..., :1]), target], -1)  # [B, P, 3]
    kernel = _radial(target, target) + STIFFNESS * tf.eye(points)
    # Keeps the system solvable if points coincide.
    corner = -1e-6 * tf.eye(3, batch_shape=[tf.shape(target)[0]])
    system = tf.concat(
        [tf.concat([kernel, affine], 2), tf.concat([_transposed(affine), corner], 2)], 1
    )
    weights = tf.linalg.solve(system, shift)  # [B, P + 3, 2 M]
    places = grid(size).reshape(1, -1, 2)
    basis = tf.matmul(_radial(tf.constant(places), target), weights[:, :points])
    plane = np.concatenate([np.ones_like(places[..., :1]), places], -1)  # [1, size^2, 3]
    flow = basis + tf.matmul(plane, weights[:, points:]) + np.tile(places, [1, 1, sources])
    flow = tf.reshape(flow, [-1, size, size, sources, 2])
    return tf.stop_gradient(tf.transpose(flow, [0, 3, 1, 2, 4]))


def _held_near_border(target, source):
    """`source` [B, M, P, 2] with limited displacements of the outline's points near the border.

    The border stays in place. A point beside it that moved beyond it would fold the flow, which
    shows as a swirl above the head. So a point moves at most `_REACH` of the way to the border.
    """
    outline = slice(LANDMARKS, LANDMARKS + len(_OUTLINE))
    place = target[:, None, outline]
    shift = source[..., outline, :] - place
    room = tf.reduce_min(tf.minimum(place, 1.0 - place), -1, keepdims=True)  # to the border
    length = tf.norm(shift, axis=-1, keepdims=True)
    shift *= tf.minimum(1.0, _REACH * tf.nn.relu(room) / tf.maximum(length, 1e-6))
    parts = [source[..., :LANDMARKS, :], place + shift, source[..., outline.stop :, :]]
    return tf.concat(parts, -2)


def sample(pictures, rows, flow):
    """Pixels of `pictures` at the positions in `flow`, bilinear.

    Positions outside a picture get the nearest pixel of its border.

    Args:
      pictures: [N, H, W, C], uint8 or floats.
      rows: int32 [B], the picture of each flow.
      flow: float32 [B, h, w, 2].

    Returns:
      float32 [B, h, w, C] in the pictures' units. Gradients pass to `flow`, and to float pictures.
    """
    height, width, channels = pictures.shape[1:]
    flat = tf.reshape(pictures, [-1, channels])
    x = tf.clip_by_value(flow[..., 0] * width - 0.5, 0.0, width - 1.0)
    y = tf.clip_by_value(flow[..., 1] * height - 0.5, 0.0, height - 1.0)
    left = tf.minimum(tf.cast(x, tf.int32), width - 2)
    top = tf.minimum(tf.cast(y, tf.int32), height - 2)
    right_share = (x - tf.cast(left, tf.float32))[..., None]
    bottom_share = (y - tf.cast(top, tf.float32))[..., None]
    first = (rows[:, None, None] * height + top) * width + left

    def pixels(offset):
        return tf.cast(tf.gather(flat, first + offset), tf.float32)

    upper = pixels(0)
    upper += right_share * (pixels(1) - upper)
    lower = pixels(width)
    lower += right_share * (pixels(width + 1) - lower)
    return upper + bottom_share * (lower - upper)


def inside(flow):
    """1 where `flow` [..., 2] points into the picture, 0 where outside, float32 [..., 1]."""
    within = tf.reduce_all((flow >= 0.0) & (flow <= 1.0), -1, keepdims=True)
    return tf.cast(within, tf.float32)


def stretch(flow):
    """Logarithm of the source area of each pixel over the pixel's own area, float32 [B, h, w, 1].

    For `flow` [B, h, w, 2]. Negative where the source is stretched (a mouth pulled open), positive
    where it is compressed; -`STRETCH_LIMIT` where the map folds over.
    """
    size = float(flow.shape[1])
    right = (flow[:, :, 1:] - flow[:, :, :-1]) * size
    down = (flow[:, 1:] - flow[:, :-1]) * size
    right = tf.concat([right, right[:, :, -1:]], 2)
    down = tf.concat([down, down[:, -1:]], 1)
    area = right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0]
    limit = STRETCH_LIMIT
    return tf.clip_by_value(tf.math.log(tf.maximum(area, 1e-6)), -limit, limit)[..., None]


def _radial(a, b):
    """r^2 log r^2 between points [B, P, 2] and [B, Q, 2], [B, P, Q]; 0 at r = 0."""
    squared = tf.square(a[:, :, None, 0] - b[:, None, :, 0])
    squared += tf.square(a[:, :, None, 1] - b[:, None, :, 1])
    return squared * tf.math.log(squared + 1e-9)


def _similarity(places, points):
    """Least-squares similarity from constant `places` [P, 2] to `points` [..., P, 2].

    (matrix [..., 2, 2], offset [..., 1, 2]).
    """
    middle, mean = places.mean(0), tf.reduce_mean(points, -2, keepdims=True)
    a = (places - middle) / np.square(places - middle).sum()
    b = points - mean
    cosine = tf.reduce_sum(a * b, [-2, -1])
    sine = tf.reduce_sum(a[:, 0] * b[..., 1] - a[:, 1] * b[..., 0], -1)
    matrix = tf.stack([tf.stack([cosine, -sine], -1), tf.stack([sine, cosine], -1)], -2)
    return matrix, mean - _applied(matrix, middle[None])


def _applied(matrix, points):
    """`matrix` [..., 2, 2] times constant `points` [P, 2], [..., P, 2].

    Not a matmul: TensorFlow 2.21's oneDNN matmul corrupts memory when it broadcasts a [B, 1, 2, 2]
    matrix over a vector (B = 16; the same with einsum and matvec).
    """
    return tf.reduce_sum(matrix[..., None, :, :] * points[:, None, :], -1)


def _transposed(matrix):
    return tf.transpose(matrix, [0, 2, 1])


def grid(size):
    """Centres of the cells of a size x size grid, float32 [size, size, 2], (x, y) in fractions."""
    ticks = (np.arange(size, dtype=np.float32) + 0.5) / size
    return np.stack(np.meshgrid(ticks, ticks), -1)
