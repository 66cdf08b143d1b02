"""Landmark drawing `y`: 68 points as coloured lines, a differentiable TensorFlow op.

    landmarks [..., 68, 2], fractions of the square crop  ->  y [..., H, W, 3] in [0, 1]

Landmarks are (x, y) and may lie outside 0..1. Each part of the face has its own colour. Lines are
`w = max(1, H / 128)` pixels wide and anti-aliased: the coverage of a pixel whose centre is `d`
pixels from a segment is `clip(w/2 + 1/2 - d, 0, 1)`. A channel is the maximum over segments of
colour x coverage.

The cost grows with the length of the lines, not with the area of the image: the image is divided
into tiles, and only (tile, segment) pairs that can touch are evaluated. The op consists of standard
TensorFlow operations and gives the same result eagerly, in `tf.data`, under `tf.function` and in a
SavedModel. XLA needs static shapes, so call it outside XLA-compiled functions.
"""

import numpy as np
import tensorflow as tf

from tf_talkinghead.errors import InputError

LANDMARKS = 68
_TILE = 16  # pixels; smaller tiles evaluate fewer pixels but more pairs
_SHORTEST = 1e-3  # pixels; shorter segments are drawn as dots, to avoid division by zero

# (RGB colour, first landmark, last landmark, closed) of each part.
PARTS = (
    ((255, 255, 255), 0, 16, False),  # jaw
    ((255, 128, 0), 17, 21, False),  # right brow
    ((255, 128, 0), 22, 26, False),  # left brow
    ((0, 128, 255), 27, 30, False),  # nose bridge
    ((0, 255, 255), 31, 35, False),  # nose base
    ((0, 255, 0), 36, 41, True),  # right eye
    ((0, 255, 0), 42, 47, True),  # left eye
    ((255, 0, 0), 48, 59, True),  # outer lips
    ((255, 0, 255), 60, 67, True),  # inner lips
)
COLOURS = tuple(dict.fromkeys(part[0] for part in PARTS))


def _segments():
    """Start landmark, end landmark and colour group of the 63 segments, three int32 arrays [63]."""
    rows = []
    for colour, first, last, closed in PARTS:
        rows += [(i, i + 1, COLOURS.index(colour)) for i in range(first, last)]
        if closed:
            rows.append((last, first, COLOURS.index(colour)))
    return np.array(rows, np.int32).T


STARTS, ENDS, GROUPS = _segments()


def line_width(size):
    """Line width in pixels for a drawing of `size` pixels."""
    return max(1.0, size / 128)


def draw_landmarks(landmarks, size):
    """Draws landmarks as coloured lines, the picture `y` that G and D see.

    Args:
      landmarks: float [..., 68, 2], (x, y) as fractions of the crop. In a graph, segments with
        non-finite end points are not drawn.
      size: H = W of the drawing in pixels, a positive integer.

    Returns:
      float32 [..., size, size, 3] in [0, 1].

    Raises:
      InputError: a wrong shape, dtype or size, or, in eager calls, points that are not finite.
    """
    landmarks = _checked(landmarks, size)
    leading = tf.shape(landmarks)[:-2]
    # pixels; a pixel's centre is at i + 0.5
    points = tf.reshape(landmarks, [-1, LANDMARKS, 2]) * float(size)
    starts = tf.gather(points, STARTS, axis=1)  # [B, 63, 2]
    spans = tf.gather(points, ENDS, axis=1) - starts
    picture = _draw(starts, spans, size)
    picture = tf.reshape(picture, tf.concat([leading, [size, size, 3]], 0))
    return tf.ensure_shape(picture, landmarks.shape[:-2].concatenate([size, size, 3]))


def _draw(starts, spans, size):
    """Draws segments; `starts` and `spans` (end - start) are [B, 63, 2] in pixels.

    Returns:
      float32 [B, size, size, 3] in [0, 1].
    """
    batch, tiles = tf.shape(starts)[0], -(-size // _TILE)
    reach = (line_width(size) + 1) / 2  # pixels farther from a segment than this are not covered
    # [P, 3]: row, tile, segment
    pairs = _touching(starts, spans, tiles, reach + (_TILE - 1) / 2 * 2**0.5)
    row, tile, segment = tf.unstack(pairs, axis=1)

    index = tf.stack([row, segment], axis=1)
    # [P, 2], pixels
    corner = tf.cast(tf.stack([tile % tiles, tile // tiles], axis=1) * _TILE, tf.float32)
    # [P, T * T]
    squared = _squared_distance(tf.gather_nd(starts, index) - corner, tf.gather_nd(spans, index))
    nearest = (
        tf.math.unsorted_segment_min(  # of each colour; the largest float where nothing is near
            squared,
            (row * tiles * tiles + tile) * len(COLOURS)
            + tf.gather(tf.constant(GROUPS, tf.int64), segment),
            tf.cast(batch, tf.int64) * tiles * tiles * len(COLOURS),
        )
    )
    # 1e-12 keeps the gradient of the square root finite on a line.
    coverage = tf.clip_by_value(reach - tf.sqrt(tf.maximum(nearest, 1e-12)), 0.0, 1.0)

    coverage = tf.reshape(coverage, [-1, len(COLOURS), _TILE * _TILE])
    channels = [_channel(coverage, channel) for channel in range(3)]
    tiled = tf.reshape(tf.stack(channels, axis=-1), [batch, tiles, tiles, _TILE, _TILE, 3])
    side = tiles * _TILE
    return tf.reshape(tf.transpose(tiled, [0, 1, 3, 2, 4, 5]), [batch, side, side, 3])[
        :, :size, :size
    ]


def _touching(starts, spans, tiles, reach):
    """Pairs (row, tile, segment) whose tile centre is within `reach` pixels of the segment.

    Returns:
      int64 [P, 3].
    """
    starts, spans = tf.stop_gradient(starts), tf.stop_gradient(spans)
    ticks = (np.arange(tiles) + 0.5) * _TILE
    # [tiles^2, 1, 2]
    centres = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 1, 2).astype(np.float32)
    offset = centres - starts[:, None]  # [B, tiles^2, 63, 2]
    along = _fraction(
        tf.reduce_sum(offset * spans[:, None], -1), tf.reduce_sum(spans * spans, -1)[:, None]
    )
    rest = offset - along[..., None] * spans[:, None]
    # Comparisons with NaN are false, so segments with NaN are not drawn.
    return tf.where(tf.reduce_sum(rest * rest, -1) <= reach * reach)


def _squared_distance(starts, spans):
    """Squared distances [P, T * T] of a tile's pixel centres from a segment.

    `starts` and `spans` are [P, 2] in pixels from the tile's corner.
    """
    y, x = np.divmod(np.arange(_TILE * _TILE), _TILE)
    x, y = (x + 0.5).astype(np.float32), (y + 0.5).astype(np.float32)
    dx, dy = x - starts[:, :1], y - starts[:, 1:]  # [P, T * T]
    ux, uy = spans[:, :1], spans[:, 1:]  # [P, 1]
    along = _fraction(dx * ux + dy * uy, ux * ux + uy * uy)
    return tf.square(dx - along * ux) + tf.square(dy - along * uy)


def _fraction(projection, squared_length):
    """Position of the nearest point along a segment, 0 to 1; 0 for a segment that is a dot."""
    dot = squared_length < _SHORTEST**2
    fraction = tf.clip_by_value(projection / tf.where(dot, 1.0, squared_length), 0.0, 1.0)
    return tf.where(dot, 0.0, fraction)


def _channel(coverage, channel):
    """Maximum of colour x coverage over colour groups, [N, 7, T * T] -> [N, T * T] in [0, 1]."""
    parts = [coverage[:, i] * (c[channel] / 255) for i, c in enumerate(COLOURS) if c[channel]]
    result = parts[0]
    for part in parts[1:]:
        result = tf.maximum(result, part)
    return result


def _checked(landmarks, size):
    """`landmarks` as a float32 tensor; InputError for invalid landmarks or size."""
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
        raise InputError(f"size: expected a positive integer of pixels, got {size!r}")
    landmarks = tf.convert_to_tensor(landmarks)
    if not landmarks.dtype.is_floating:
        raise InputError(
            f"landmarks: expected floats (fractions of the crop), got {landmarks.dtype.name}"
        )
    if landmarks.shape.rank is None or landmarks.shape[-2:].as_list() != [LANDMARKS, 2]:
        raise InputError(f"landmarks: expected shape [..., 68, 2], got {landmarks.shape}")
    landmarks = tf.cast(landmarks, tf.float32)
    if tf.executing_eagerly() and not np.isfinite(landmarks.numpy()).all():
        raise InputError("landmarks: expected finite numbers, got NaN or infinity")
    return landmarks
