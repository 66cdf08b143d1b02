"""Pupils moved by the flow, and by the shipped weights in a picture."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.face_points import COLLINS
from tests.moving_portrait import PORTRAIT
from tf_talkinghead.driving.expression import Expression, express
from tf_talkinghead.faces.geometry import expressed
from tf_talkinghead.faces.pupils import find_pupils
from tf_talkinghead.images import to_uint8
from tf_talkinghead.models.gaze import look_aside
from tf_talkinghead.models.guidance import grid
from tf_talkinghead.personalization.avatar import folded_generator
from tf_talkinghead.personalization.personalize import personalize
from tf_talkinghead.personalization.photos import resized_photos
from tf_talkinghead.personalization.rendering import render_guided
from tf_talkinghead.weights.store import load_trained

PUPILS = np.float32([COLLINS[36:42].mean(0), COLLINS[42:48].mean(0)])
IDENTITY = np.tile(grid(64)[None], (1, 1, 1, 1))
EYE = float(np.linalg.norm(COLLINS[39] - COLLINS[36]))


def moved(pupils, source=PUPILS, landmarks=COLLINS):
    """The flow's change, [64, 64, 2]."""
    arguments = (IDENTITY, landmarks[None], pupils[None], source[None])
    flow = look_aside(*(tf.constant(value, tf.float32) for value in arguments))
    return (flow - IDENTITY).numpy()[0]


def at(change, point):
    """Bilinear value at a point."""
    x, y = np.asarray(point) * 64 - 0.5
    i, j = int(y), int(x)
    u, v = y - i, x - j
    return (1 - u) * ((1 - v) * change[i, j] + v * change[i, j + 1]) + u * (
        (1 - v) * change[i + 1, j] + v * change[i + 1, j + 1]
    )


def test_each_pupil_comes_from_the_sources_and_the_rest_stays():
    aside = np.float32([0.2 * EYE, 0.0])
    change = moved(PUPILS + aside)
    for pupil in PUPILS + aside:
        np.testing.assert_allclose(at(change, pupil), -aside, atol=0.15 * aside[0])
    for point in (COLLINS[30], COLLINS[62], COLLINS[8], COLLINS[0]):  # nose, mouth, chin, temple
        assert np.abs(at(change, point)).max() < 0.01 * EYE
    assert np.abs(moved(PUPILS)).max() < 1e-5


def test_unknown_pupils_and_shut_lids_move_nothing():
    aside = PUPILS + np.float32([0.02, 0])
    assert np.abs(moved(np.full((2, 2), np.nan))).max() == 0
    assert np.abs(moved(aside, np.full((2, 2), np.nan))).max() == 0
    shut = np.float32(expressed(COLLINS.astype(np.float64), 1.0, 0, 0))
    assert np.abs(moved(aside, landmarks=shut)).max() < 0.1 * np.abs(moved(aside)).max()


@pytest.fixture(scope="module")
def avatar():
    trained = load_trained("guided")
    size = trained.config.model.image_size
    image = resized_photos(PORTRAIT[None], size)
    landmarks = np.float32(COLLINS)[None]
    config = dataclasses.replace(trained.config.personalize, mode="feed_forward")
    return personalize(
        trained, image, landmarks, config, progress=False, pupils=find_pupils(image, landmarks)
    )


def test_the_shipped_weights_move_the_eyes(avatar):
    """Pupils found in the rendered pictures follow the gaze asked for, to both sides."""
    photos, config = avatar.photos, avatar.config.model
    network = folded_generator(config, avatar.weights)
    small = tf.constant(resized_photos(photos.images, config.working_size))
    reference = np.concatenate([COLLINS, photos.pupils[0]])
    points = np.stack([express(reference, Expression(gaze_x=x, gaze_y=0)) for x in (-0.2, 0, 0.2)])
    frames = render_guided(
        config,
        network,
        tf.constant(points[:, :68]),
        tf.repeat(avatar.psi_hat[None], 3, axis=0),
        tf.constant(photos.images),
        small,
        tf.constant(photos.landmarks),
        tf.constant(points[:, 68:]),
        tf.constant(photos.pupils),
    )
    found = find_pupils(np.asarray(to_uint8(frames)), points[:, :68])[..., 0].mean(axis=1) / EYE
    # Half of the 0.2 is seen: the finder is drawn to the middle of the lids.
    assert found[1] - found[0] > 0.06 and found[2] - found[1] > 0.06
