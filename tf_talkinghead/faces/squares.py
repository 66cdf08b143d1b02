"""Squares around faces, in which landmarks are predicted.

Coordinates are pixels of the image, the centre of the first pixel at (0, 0).
"""

from typing import NamedTuple

import numpy as np

# The detector's square relative to the points predicted in it, in units of the points'
# root-mean-square distance from their mean; fitted on 90 detections in 19 clips.
_SIDE, _RIGHT, _DOWN = 2.762, -0.020, -0.120


class Square(NamedTuple):
    """A face's square."""

    x: float  # of the centre
    y: float
    side: float

    def moved(self, right, down, larger):
        """The square moved by shares of its side, and `larger` times as large."""
        return Square(self.x + right * self.side, self.y + down * self.side, larger * self.side)

    def is_by(self, other):
        """Whether the centres are, in x and in y, less than half of the other's side apart."""
        return max(abs(self.x - other.x), abs(self.y - other.y)) < other.side / 2


class Face(NamedTuple):
    """A face found in an image."""

    square: Square
    points: np.ndarray  # float32 [68, 2]
    # Mean distance between predictions in slightly different squares, a share of the side; from
    # landmarks.UNSURE on the points are unreliable.
    spread: float = 0.0

    def shifted(self, x, y):
        """The same face in an image whose origin lies at (-x, -y) of this one's."""
        square = self.square._replace(x=self.square.x + x, y=self.square.y + y)
        return self._replace(square=square, points=self.points + np.float32([x, y]))


def square_of(points: np.ndarray) -> Square:
    """The square that the detector would place around `points` [68, 2]."""
    mean = points.mean(axis=0, dtype=np.float64)
    size = float(np.sqrt(((points - mean) ** 2).sum(axis=1).mean()))
    return Square(float(mean[0]) + _RIGHT * size, float(mean[1]) + _DOWN * size, _SIDE * size)


def window(image: np.ndarray, square: Square, sides: float) -> tuple[int, int, np.ndarray]:
    """The part of an image within a larger square, at least one pixel.

    Args:
      image: [H, W] or [H, W, 3].
      square: a face's.
      sides: side of the part, in sides of `square`.

    Returns:
      (left, top, a view of the pixels).
    """
    half = sides * square.side / 2
    ranges = []
    for centre, size in ((square.x, image.shape[1]), (square.y, image.shape[0])):
        low = int(np.clip(centre - half, 0, size - 1))
        high = int(np.clip(np.ceil(centre + half), 1, size))
        ranges.append((low, max(high, low + 1)))
    (left, right), (top, bottom) = ranges
    return left, top, image[top:bottom, left:right]
