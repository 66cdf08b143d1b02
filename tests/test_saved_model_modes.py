"""Each mode's export renders what its training graph renders, by each way of loading it.

The training graph is the learner's own: spectral kernels of the moving averages,
drawing, numpy's rounding.
"""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.c_api import Session
from tests.face_points import COLLINS
from tests.saved_model_cli import frames_by_cli
from tf_talkinghead.config import preset
from tf_talkinghead.export.saved_model import export_person
from tf_talkinghead.models.layers import converge_spectral_norms
from tf_talkinghead.personalization.avatar import Avatar, Facts
from tf_talkinghead.personalization.fine_tuning import PersonLearner
from tf_talkinghead.personalization.pairs import make_pairs
from tf_talkinghead.personalization.personalize import MODES
from tf_talkinghead.weights.store import empty

BATCHES = (1, 3, 16)
UPDATES = 3


def _landmarks(count):
    return (COLLINS + np.random.default_rng(count).normal(0, 0.03, (count, 68, 2))).astype(
        np.float32
    )


CASES = [("tiny", mode) for mode in MODES] + [
    pytest.param(("demo", mode), marks=pytest.mark.slow) for mode in MODES
]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(case))
def exported(request, tmp_path_factory):
    """(folder of the version, frames of the training graph by batch size) of a
    person learned in one mode.
    """
    name, mode = request.param
    whole = preset(name)
    trained = empty(whole)
    converge_spectral_norms(trained.generator)
    config = dataclasses.replace(
        whole.personalize, mode=mode, learning_rate=1e-2, vector_learning_rate=1e-1, ema_decay=0.5
    )
    size = whole.model.image_size
    images = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    pairs = make_pairs(whole.model, images, _landmarks(2), config)
    learner = PersonLearner(trained, pairs, config, UPDATES)
    untouched = learner.render(_landmarks(3))
    if mode != "feed_forward":
        for number in range(UPDATES):
            learner.step(
                {"image": tf.constant(images), "landmarks": tf.constant(_landmarks(2))}, number
            )
    learner.converge()
    expected = {count: learner.render(_landmarks(count)) for count in BATCHES}
    # The others did learn something.
    assert np.array_equal(untouched, expected[3]) == (mode == "feed_forward")
    weights, psi_hat = learner.folded()
    facts = Facts(images=2, steps=UPDATES)
    avatar = Avatar(whole, mode, weights, psi_hat, COLLINS, facts)
    return export_person(avatar, tmp_path_factory.mktemp("models"), "ann"), expected


def _same(frames, expected):
    assert np.ptp(expected) > 30  # not a flat picture, of which anything is equal to anything
    return frames.shape == expected.shape and np.abs(frames.astype(int) - expected).max() <= 1


def test_saved_model_load(exported):
    folder, expected = exported
    serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
    for batch in BATCHES:
        assert _same(
            serve(landmarks=tf.constant(_landmarks(batch)))["frames"].numpy(), expected[batch]
        )


def test_c_api(exported):
    folder, expected = exported
    session = Session(folder)
    for batch in BATCHES:
        assert _same(
            session.run("serving_default", landmarks=_landmarks(batch))["frames"], expected[batch]
        )


@pytest.mark.slow
@pytest.mark.parametrize("batch", BATCHES)
def test_saved_model_cli(exported, tmp_path, batch):
    folder, expected = exported
    assert _same(frames_by_cli(folder, _landmarks(batch), tmp_path), expected[batch])
