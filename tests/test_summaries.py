"""TensorBoard's event files: what is in them, and a disk that fills."""

import numpy as np
import pytest
import tensorflow as tf

from tests.full_disk import largest_file
from tf_talkinghead.errors import InputError
from tf_talkinghead.training.summaries import Summaries


def test_values_are_in_the_event_file_when_the_call_returns(tmp_path):
    Summaries(tmp_path).scalars(3, {"loss": 0.25})
    (path,) = (tmp_path / "events").iterdir()
    events = [tf.compat.v1.Event.FromString(e.numpy()) for e in tf.data.TFRecordDataset(str(path))]
    assert events[-1].step == 3 and tf.make_ndarray(events[-1].summary.value[0].tensor) == 0.25


def test_nothing_is_written_without_a_folder():
    Summaries(None).scalars(1, {"loss": 1.0})


@pytest.mark.parametrize("what", ["events", "grids"])
def test_a_full_disk_is_one_line(tmp_path, what):
    """Found by the fault campaign: an error of TensorFlow's was a traceback."""
    summaries = Summaries(tmp_path)
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    write = {
        "events": lambda: summaries.scalars(1, {f"loss_{n}": 1.0 for n in range(200)}),
        "grids": lambda: summaries.picture(1, "grid", picture),
    }[what]
    with largest_file(2_000), pytest.raises(InputError, match=what) as error:
        write()
    assert "\n" not in str(error.value) and not list(tmp_path.glob("grids/*"))
