"""TensorBoard event files of a run, and the picture grids beside them."""

import pathlib

import cv2
import tensorflow as tf


class Summaries:
    """Writes `<run>/events/` and `<run>/grids/NAME-STEP.png`; nothing if `folder` is None."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder) if folder else None
        self.writer = tf.summary.create_file_writer(str(self.folder / "events")) if folder else None

    def scalars(self, step, values):
        """Writes `values`, name -> float."""
        if self.writer:
            with self.writer.as_default(step=step):
                for name, value in values.items():
                    tf.summary.scalar(name, value)
            self.writer.flush()

    def text(self, name, text):
        """Writes a text, at step 0."""
        if self.writer:
            with self.writer.as_default(step=0):
                # Indented by four spaces: TensorBoard shows it as a code block.
                tf.summary.text(name, "    " + text.replace("\n", "\n    "))

    def picture(self, step, name, image):
        """Writes a picture, uint8 RGB [H,W,3], to both folders."""
        if self.writer:
            with self.writer.as_default(step=step):
                tf.summary.image(name, image[None])
            folder = self.folder / "grids"
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"{name}-{step:07d}.png"), image[:, :, ::-1])
