"""Pictures as arrays: uint8 at every boundary, float32 in [-1, 1] inside the networks, and sheets
of several.
"""

import cv2
import numpy as np

_COMPARED = 48  # pixels of a frame where frames are only compared


def to_float(images):
    """uint8 tensor [..., H, W, 3] as float32 in [-1, 1], the range inside the networks."""
    import tensorflow as tf  # here: who only lays out sheets does not load it

    return tf.cast(images, tf.float32) / 127.5 - 1.0


def to_uint8(x_hat) -> np.ndarray:
    """float array or tensor [..., H, W, 3] in [-1, 1] as uint8, rounded to nearest.

    Values outside are clipped.
    """
    return np.rint(np.clip((np.asarray(x_hat, np.float32) + 1.0) * 127.5, 0, 255)).astype(np.uint8)


def grid(rows) -> np.ndarray:
    """One uint8 picture of `rows`, a list of rows of equal uint8 [H, W, 3] tiles, with white lines
    between.
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
    """Indices of `count` of the frames uint8 [H, W, 3]: of each equal stretch the one least like
    the rest of it,

    so that a blink is not missed.
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
