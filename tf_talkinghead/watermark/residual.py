"""Residual of frames, in which the mark is detected: luma minus local mean, over local contrast.

The mean over a film's frames keeps the mark, which stands still, and averages out motion and the
encoder's noise. It is gathered at several resolutions, since it is not known how many pixels of the
film the marked picture covers.
"""

import cv2
import numpy as np

from tf_talkinghead.watermark.pattern import CANVAS

_LUMA = np.float32([0.299, 0.587, 0.114])
_OFFSET = 1.0  # levels added to the contrast
_STEP = 1.4  # between the resolutions
# Side of the marked picture over the shorter side of the frame. Above 1 a part was cropped off,
# about a fifth at most; below 1 the picture was pasted into a larger one.
SMALLEST_SHARE, LARGEST_SHARE = 0.3, 1.3
SMALLEST_SIDE = 96  # pixels of the frame that the marked picture covers at least


def residual(luma: np.ndarray) -> np.ndarray:
    """The residual of luma float32 [H, W], about 1 in size everywhere."""
    detail = luma - cv2.blur(luma, (3, 3))
    contrast = np.sqrt(np.maximum(cv2.blur(detail * detail, (5, 5)), 0))  # rounding goes below 0
    return detail / (contrast + _OFFSET)


class Residuals:
    """Mean residuals of a film's frames.

    Attributes:
      height, width: of the frames, pixels.
      count: frames added.
      canvases: {(x, y, side): mean residual [128, 128]} of the likely places of the marked picture,
        in pixels: the whole of a square frame, either square of a side-by-side film.
      levels: {share: mean residual} at resolutions where a picture of `share` times the shorter
        side of the frame has 128 samples.
    """

    def __init__(self, height: int, width: int):
        self.height, self.width, self.count = height, width, 0
        self._short = min(height, width)
        self.canvases = {
            place: np.zeros([CANVAS, CANVAS], np.float32) for place in _likely(height, width)
        }
        smallest = max(SMALLEST_SHARE, SMALLEST_SIDE / self._short)
        self.levels, share = {}, LARGEST_SHARE / np.sqrt(_STEP)
        while share * np.sqrt(_STEP) > smallest:
            shape = (self._samples(height, share), self._samples(width, share))
            self.levels[share] = np.zeros(shape, np.float32)
            share /= _STEP

    def add(self, frame: np.ndarray) -> None:
        """Adds a frame, uint8 RGB [height, width, 3]."""
        luma = frame.astype(np.float32) @ _LUMA
        self.count += 1
        for (x, y, side), mean in self.canvases.items():
            part = residual(_resized(luma[y : y + side, x : x + side], (CANVAS, CANVAS)))
            mean += (part - mean) / self.count
        for mean in self.levels.values():
            mean += (residual(_resized(luma, mean.shape)) - mean) / self.count

    def _samples(self, pixels, share):
        return max(8, round(pixels * CANVAS / (share * self._short)))


def _resized(luma, shape):
    height, width = shape
    way = cv2.INTER_AREA if height < luma.shape[0] else cv2.INTER_LINEAR
    return cv2.resize(luma, (width, height), interpolation=way)


def _likely(height, width):
    """Places (x, y, side) that are tried before a search."""
    side = min(height, width)
    if side < SMALLEST_SIDE:
        return []
    if abs(height - width) <= 2:
        return [(0, 0, side)]
    if abs(width - 2 * height) <= 2:
        return [(width - side, 0, side), (0, 0, side)]
    return [((width - side) // 2, (height - side) // 2, side)]
