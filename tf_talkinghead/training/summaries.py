"""TensorBoard event files of a run, and the picture grids beside them."""

import pathlib

import cv2
import tensorflow as tf


class Summaries:
    """Writes `<run>/events/` and `<run>/grids/NAME-STEP.png`; nothing with `folder` None."""

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
                # Four spaces: a code block.
                tf.summary.text(name, "    " + text.replace("\n", "\n    "))

    def picture(self, step, name, image):
        """`image`: uint8 [H,W,3]."""
        if self.writer:
            with self.writer.as_default(step=step):
                tf.summary.image(name, image[None])
            folder = self.folder / "grids"
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"{name}-{step:07d}.png"), image[:, :, ::-1])
