"""Rows that W starts from in the FT variant: each video's e_hat, computed independently."""

import numpy as np
import pytest
import tensorflow as tf

from tests.test_meta_train import person
from tests.test_records import make_dataset
from tf_talkinghead.config import preset, replace
from tf_talkinghead.data.dataset import load_dataset
from tf_talkinghead.data.drawing import draw_landmarks
from tf_talkinghead.data.episodes import Schedule
from tf_talkinghead.images import to_float
from tf_talkinghead.training.checkpoints import Checkpoints
from tf_talkinghead.training.match_rows import first_new_row, start_rows
from tf_talkinghead.training.meta_learning import MetaLearner
from tf_talkinghead.training.run import meta_train

# Nothing moves: what W holds after a run is what it started from.
STILL = {
    "meta.variant": "ft",
    "meta.steps": 1,
    "meta.shots": 3,
    "meta.learning_rate": 0.0,
    "meta.discriminator_learning_rate": 0.0,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    make_dataset(folder, [[person(name, i) for i, name in enumerate("abcd")]], size=32)
    return folder


def e_hat(embedder, record, places):
    """The mean of E over frames, one by one."""
    vectors = []
    for place in places:
        x = to_float(tf.constant(record.images([place])))
        vectors.append(embedder(x, draw_landmarks(tf.constant(record.landmarks[place][None]), 32)))
    return np.mean(np.concatenate(vectors), axis=0)


def test_rows_start_at_their_videos_e_hat(data, tiny):
    config = replace(tiny, STILL)
    dataset = load_dataset(data)
    learner = MetaLearner(config, 4)
    before = learner.discriminator.W.numpy()
    schedule = Schedule(dataset, 3, 0, config.data, exclude=["b"])
    start_rows(learner, dataset, schedule, first=1, progress=False)
    W = learner.discriminator.W.numpy()
    np.testing.assert_array_equal(W[:2], before[:2])  # below `first`, and held out
    for entry in dataset.clips[2:]:
        # Eight frames: the first, the last and the one between.
        expected = e_hat(learner.embedder, dataset.read(entry), [0, 4, 7])
        np.testing.assert_allclose(W[entry.video], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_run_of_the_ft_variant_starts_its_rows(data, tmp_path):
    config = replace(preset("tiny"), STILL)
    meta_train(config, data, tmp_path, progress=False)
    arrays, _ = Checkpoints(tmp_path / "checkpoints").load_newest()
    learner = MetaLearner(config, 4)  # the same seed: the same E
    dataset = load_dataset(data)
    start_rows(learner, dataset, Schedule(dataset, 3, 0, config.data), progress=False)
    np.testing.assert_allclose(arrays["D/W"], learner.discriminator.W.numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("number", "start", "stored", "match_start", "first"),
    [
        (0, 0, 0, 0, 0),  # a new run
        (1, 0, 0, 0, None),
        (7, 7, 5, 0, 5),  # resumed: rows of a grown dataset alone
        (8, 7, 5, 0, None),
        (0, 0, 0, 9, None),  # the match term acts from update 9 on
        (9, 0, 0, 9, 0),
        (9, 9, 5, 9, 0),
        (5, 5, 5, 9, None),
        (20, 20, 5, 9, 5),
    ],
)
def test_when_rows_start(number, start, stored, match_start, first):
    assert first_new_row(number, start, stored, match_start) == first
