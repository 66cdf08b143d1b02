"""LPIPS by a named frozen graph; a stand-in of the published form: mean absolute difference."""

import numpy as np
import pytest
import tensorflow as tf

from tf_talkinghead.errors import InputError
from tf_talkinghead.evaluation.lpips import Lpips


def frozen(path, distance, names=("0", "1")):
    """Writes a graph whose last node is `distance` of its two inputs."""
    with tf.Graph().as_default() as graph:
        inputs = [tf.compat.v1.placeholder(tf.float32, [None, 3, None, None], n) for n in names]
        tf.identity(distance(*inputs), "distance")
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


def difference(a, b):
    return tf.reduce_mean(tf.abs(a - b), [1, 2, 3], keepdims=True)


def test_the_graph_gets_planes_from_minus_1_to_1_and_gives_one_figure_a_frame(tmp_path):
    lpips = Lpips(frozen(tmp_path / "lpips.pb", difference))
    rng = np.random.default_rng(1)
    truth, rendered = rng.integers(0, 256, (2, 11, 40, 48, 3)).astype(np.uint8)
    expected = np.abs(np.float64(truth) - rendered).mean((1, 2, 3)) / 127.5
    np.testing.assert_allclose(lpips(truth, rendered), expected, rtol=1e-5)
    # The first axis after the batch is colour: only red differs.
    red = truth.copy()
    red[..., 0] = 255 - red[..., 0]
    by_red = Lpips(frozen(tmp_path / "red.pb", lambda a, b: difference(a, b) + _of_red(a, b)))
    np.testing.assert_allclose(by_red(truth, red), 4 * lpips(truth, red), rtol=1e-5)


def _of_red(a, b):
    return tf.reduce_mean(tf.abs(a - b)[:, :1], [1, 2, 3], keepdims=True)


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "No such file"),
        ("text", "not a frozen TensorFlow graph"),
        (("x", "1"), "no input called 0"),
        (lambda a, b: difference(a, b) + 1, "not a distance: 1 for two equal pictures"),
        (lambda a, b: tf.constant([1.0]), "--lpips="),
    ],
)
def test_files_that_are_no_lpips_are_named(tmp_path, content, message):
    path = tmp_path / "file.pb"
    if content == "text":
        path.write_text("this is no graph\n")
    elif isinstance(content, tuple):
        frozen(path, difference, content)
    elif content:
        frozen(path, content)
    with pytest.raises(InputError, match=message):
        Lpips(path)
