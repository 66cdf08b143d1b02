"""TensorBoard event files of a run, and the picture grids beside them."""

import pathlib

import cv2
import numpy as np
import tensorflow as tf


class Summaries:
    """Writes `<run>/events/` and `<run>/grids/NAME-STEP.png`; with `folder` None it writes nothing."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder) if folder else None
        self.writer = tf.summary.create_file_writer(str(self.folder / "events")) if folder else None

    def scalars(self, step, values):
        """`values`: name -> float."""
        if self.writer:
            with self.writer.as_default(step=step):
                for name, value in values.items():
                    tf.summary.scalar(name, value)
            self.writer.flush()

    def text(self, name, text):
        if self.writer:
            with self.writer.as_default(step=0):
                tf.summary.text(name, "    " + text.replace("\n", "\n    "))  # four spaces: a code block

    def picture(self, step, name, image):
        """`image`: uint8 [H,W,3]."""
        if self.writer:
            with self.writer.as_default(step=step):
                tf.summary.image(name, image[None])
            folder = self.folder / "grids"
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"{name}-{step:07d}.png"), image[:, :, ::-1])


def grid(rows):
    """One uint8 picture of `rows`, a list of rows of equal uint8 [H,W,3] tiles, with white lines between."""
    line = 2
    height, width, _ = rows[0][0].shape
    columns = max(len(row) for row in rows)
    canvas = np.full((len(rows) * (height + line) - line, columns * (width + line) - line, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, tile in enumerate(row):
            top, left = i * (height + line), j * (width + line)
            canvas[top : top + height, left : left + width] = tile
    return canvas
