"""Pictures as arrays: conversion between uint8 and the networks' float32 in [-1, 1], and grids.

Pictures are uint8 at every boundary (disk, RPC) and float32 in [-1, 1] inside the networks.
"""

import cv2
import numpy as np

_COMPARED = 48  # side in pixels to which frames are reduced before they are compared


def to_float(images):
    """uint8 tensor [..., H, W, 3] as float32 in [-1, 1], the range inside the networks."""
    import tensorflow as tf  # here: callers that only need `grid` do not load it

    return tf.cast(images, tf.float32) / 127.5 - 1.0


def to_uint8(x_hat) -> np.ndarray:
    """float array or tensor [..., H, W, 3] in [-1, 1] as uint8, rounded to nearest.

    Values outside are clipped.
    """
    return np.rint(np.clip((np.asarray(x_hat, np.float32) + 1.0) * 127.5, 0, 255)).astype(np.uint8)


def grid(rows) -> np.ndarray:
    """One uint8 picture of a grid of tiles, with white lines between them.

    Args:
      rows: list of rows, each a list of uint8 [H, W, 3] tiles of one size. Shorter rows are filled
        with white.
    """
    line = 2
    height, width, _ = rows[0][0].shape
    columns = max(len(row) for row in rows)
    canvas = np.full(
        (len(rows) * (height + line) - line, columns * (width + line) - line, 3), 255, np.uint8
    )
    for i, row in enumerate(rows):
        for j, tile in enumerate(row):
            top, left = i * (height + line), j * (width + line)
            canvas[top : top + height, left : left + width] = tile
    return canvas


def telling_frames(frames, count: int) -> set[int]:
    """Indices of `count` frames that show what happens in a clip, blinks included.

    The clip is divided into `count` equal stretches, and the frame that differs most from the
    median of its stretch is taken.

    Args:
      frames: uint8 [H, W, 3] each.
      count: number of indices; fewer where there are fewer frames.
    """
    small = [
        cv2.resize(frame, (_COMPARED, _COMPARED), interpolation=cv2.INTER_AREA) for frame in frames
    ]
    small = np.stack(small)
    chosen = set()
    for stretch in np.array_split(np.arange(len(small)), min(count, len(small))):
        part = small[stretch].astype(np.float32)
        chosen.add(int(stretch[np.abs(part - np.median(part, axis=0)).mean((1, 2, 3)).argmax()]))
    return chosen
