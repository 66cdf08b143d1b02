"""TensorBoard event files of a run, and the picture grids beside them."""

import contextlib
import pathlib

import cv2
import tensorflow as tf

from tf_talkinghead.errors import InputError
from tf_talkinghead.files import write_atomically


class Summaries:
    """Writes `<run>/events/` and `<run>/grids/NAME-STEP.png`; nothing if `folder` is None."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder) if folder else None
        self.writer = tf.summary.create_file_writer(str(self.folder / "events")) if folder else None

    def scalars(self, step, values):
        """Writes `values`, name -> float."""
        if self.writer:
            with self._writing(step):
                for name, value in values.items():
                    tf.summary.scalar(name, value)

    def text(self, name, text):
        """Writes a text, at step 0."""
        if self.writer:
            with self._writing(0):
                # Indented by four spaces: TensorBoard shows it as a code block.
                tf.summary.text(name, "    " + text.replace("\n", "\n    "))

    def picture(self, step, name, image):
        """Writes a picture, uint8 RGB [H,W,3], to both folders."""
        if self.writer:
            with self._writing(step):
                tf.summary.image(name, image[None])
            content = cv2.imencode(".png", image[:, :, ::-1])[1].tobytes()
            write_atomically(self.folder / "grids" / f"{name}-{step:07d}.png", content)

    @contextlib.contextmanager
    def _writing(self, step):
        """What is written within is in the event file afterwards; InputError where it cannot be."""
        try:
            with self.writer.as_default(step=step):
                yield
            self.writer.flush()
        except tf.errors.OpError as error:  # TensorFlow has errors of its own for a disk
            reason = error.message.splitlines()[0]
            raise InputError(
                f"{self.folder / 'events'}: cannot be written ({reason}); make room and repeat the "
                "command: the run continues from its last checkpoint"
            ) from error
