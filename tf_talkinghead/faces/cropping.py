"""Square crop of a clip: one square for all its frames, so that the background stands still.

Coordinates: pixel `i` covers `[i, i + 1)`, so a landmark at pixel index `p` lies at `p + 1/2`, and
a square's fractions run from 0 at its left (top) edge to 1 at its right (bottom) edge.
"""

from typing import NamedTuple

import cv2
import numpy as np

from tf_talkinghead.config import PreparationConfig

# Widths of the blur beyond the picture's border, and the distances from it at which they are
# reached; fractions of the square.
_SOFTENING = ((0.01, 0.01), (0.025, 0.03), (0.06, 0.08))


class CropBox(NamedTuple):
    """A square of whole pixels; it may reach over the picture's border."""

    x: int  # left edge
    y: int  # top edge
    side: int


def crop_box(points: np.ndarray, config: PreparationConfig) -> CropBox:
    """The clip's square, computed from all its points, float [T, 68, 2] in pixels.

    Its side is `(1 + 2 crop_margin)` times the larger side of the landmarks' box (median over
    frames). It is larger where the head moves far, so that the landmarks, from their 5th to their
    95th percentile over frames, keep a distance of a tenth of the side from the square's edges. The
    square's centre lies above the landmarks' centre by `crop_rise` times their height, since hair
    has no landmarks.
    """
    low, high = points.min(axis=1), points.max(axis=1)  # [T, 2]
    width, height = np.median(high - low, axis=0)
    reach_low, reach_high = np.percentile(low, 5, axis=0), np.percentile(high, 95, axis=0)
    centre = (reach_low + reach_high) / 2 + 0.5 - (0, config.crop_rise * height)
    needed = 2 * np.maximum(reach_high + 0.5 - centre, centre - reach_low - 0.5).max() / 0.8
    side = max(2, round(float(max((1 + 2 * config.crop_margin) * max(width, height), needed))))
    return CropBox(round(float(centre[0]) - side / 2), round(float(centre[1]) - side / 2), side)


def crop(image: np.ndarray, box: CropBox, size: int) -> np.ndarray:
    """The square of a uint8 picture [H, W, 3], resampled to uint8 [size, size, 3].

    Where the square reaches beyond the picture, the border pixels are repeated, with a blur that
    grows with the distance: without it they would form streaks, and mirroring instead would turn a
    neck into a second chin.

    Raises:
      ValueError: the square and the picture do not overlap.
    """
    height, width = image.shape[:2]
    left, top = max(box.x, 0), max(box.y, 0)
    right, bottom = min(box.x + box.side, width), min(box.y + box.side, height)
    if right <= left or bottom <= top:
        raise ValueError(f"crop: {box} lies outside a picture of {width} x {height}")
    inside = image[top:bottom, left:right]
    margins = (top - box.y, box.y + box.side - bottom, left - box.x, box.x + box.side - right)
    if any(margins):
        inside = cv2.copyMakeBorder(inside, *margins, cv2.BORDER_REPLICATE)
    how = cv2.INTER_AREA if box.side >= size else cv2.INTER_CUBIC
    picture = cv2.resize(inside, (size, size), interpolation=how)
    return _softened(picture, np.array(margins) / box.side) if any(margins) else picture


def _softened(picture, margins):
    """`picture` [S, S, 3] blurred in its `margins`: top, bottom, left, right, fractions of S."""
    size = len(picture)
    top, bottom, left, right = np.round(np.array(margins) * size).astype(int)
    outside = np.ones((size, size), np.uint8)
    outside[top : size - bottom, left : size - right] = 0
    distance = cv2.distanceTransform(outside, cv2.DIST_L2, 5)[..., None] / size
    # Streaks run outwards; blurring what lies beyond the border alone keeps the inside as it is.
    result, nearer = picture.astype(np.float32), 0.0
    for width, reached in _SOFTENING:
        blurred = cv2.GaussianBlur(
            picture, (0, 0), max(width * size, 0.3), borderType=cv2.BORDER_REPLICATE
        )
        share = np.clip((distance - nearer) / (reached - nearer), 0.0, 1.0)
        result += share * (blurred - result)
        nearer = reached
    return np.uint8(np.rint(result))


def to_fractions(points: np.ndarray, box: CropBox) -> np.ndarray:
    """Points in pixels [..., 2] as fractions of the square, float32."""
    return ((points + 0.5 - (box.x, box.y)) / box.side).astype(np.float32)
