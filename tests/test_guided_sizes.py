"""Crops kept at their own size, frames of twice the model's size, and avatars made anew."""

import json

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from skimage import data

from tests.moving_portrait import PORTRAIT
from tests.random_avatars import random_generator, tiny_guided
from tf_talkinghead.config import replace
from tf_talkinghead.errors import InputError
from tf_talkinghead.export import refresh, store, workflow
from tf_talkinghead.export.card import CARD_FILE
from tf_talkinghead.faces.crops import face_crops
from tf_talkinghead.personalization.avatar import load_avatar
from tf_talkinghead.personalization.photos import LARGEST
from tf_talkinghead.weights.store import empty, load_trained, save_trained


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Two weights folders of random guided networks of 64 px."""
    folders = []
    for seed in (0, 1):
        config = replace(tiny_guided(), {"personalize.mode": "feed_forward"})
        made = empty(config)
        made.generator.set_weights(random_generator(tiny_guided(), seed).get_weights())
        folders.append(str(save_trained(made, tmp_path_factory.mktemp("weights"))))
    return folders


@pytest.fixture(scope="module")
def made(weights, tmp_path_factory):
    """The models folder with "ann", made of one photo of 512 px."""
    root = tmp_path_factory.mktemp("people")
    Image.fromarray(data.astronaut()).save(root / "ann.png")
    models = root / "models"
    workflow.make_person(weights[0], "ann", [str(root / "ann.png")], models, progress=False)
    return models


def frames_of(version, landmarks):
    serve = tf.saved_model.load(str(version)).signatures["serving_default"]
    return serve(landmarks=tf.constant(landmarks))["frames"].numpy()


def card_of(version):
    return json.loads((version / CARD_FILE).read_text())


def test_crops_keep_their_own_size_and_are_never_enlarged(made, weights):
    photos = load_avatar(made / ".work" / "ann").photos
    square = face_crops([data.astronaut()], 64, load_trained(weights[0]).preparation).box
    assert 64 < photos.images.shape[1] == square.side < LARGEST
    picture = data.astronaut()[square.y : square.y + square.side, square.x : square.x + square.side]
    np.testing.assert_array_equal(photos.images[0], picture)
    assert card_of(made / "ann" / "1")["photo_pixels"] == square.side
    assert card_of(made / "ann" / "1")["photos"] == 1


def test_large_crops_are_kept_at_512(weights, tmp_path):
    large = cv2.resize(PORTRAIT, (900, 900), interpolation=cv2.INTER_CUBIC)
    Image.fromarray(large).save(tmp_path / "large.png")
    paths, models = [str(tmp_path / "large.png")], tmp_path / "models"
    workflow.make_person(weights[0], "bea", paths, models, progress=False)
    assert load_avatar(models / ".work" / "bea").photos.images.shape == (1, LARGEST, LARGEST, 3)
    # Photos are stored no larger than the frames.
    stored = tf.saved_model.load(str(models / "bea" / "1")).renderer.photos
    assert stored.shape == (1, 64, 64, 3)


def test_twice_the_size_needs_no_training(made):
    version = workflow.publish_again(made, "ann", size=128)
    pose = load_avatar(made / ".work" / "ann").reference_landmarks[None]
    small, large = frames_of(made / "ann" / "1", pose), frames_of(version, pose)
    assert large.shape == (1, 128, 128, 3) and card_of(version)["resolution"] == 128
    shrunk = cv2.resize(large[0], (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32)
    assert np.abs(shrunk - small[0]).mean() < 6
    # ... and there is more to see than in the small frame enlarged.
    enlarged = cv2.resize(small[0], (128, 128), interpolation=cv2.INTER_CUBIC)
    assert np.abs(np.diff(np.float32(large[0]), axis=0)).mean() > 1.1 * (
        np.abs(np.diff(np.float32(enlarged), axis=0)).mean()
    )
    with pytest.raises(InputError, match=r"--size=96: expected 64 or 128, got 96"):
        workflow.publish_again(made, "ann", size=96)


def test_an_avatar_is_made_anew_from_its_crops(made, weights):
    before = load_avatar(made / ".work" / "ann")
    assert refresh.kept_people(made) == ["ann"]
    assert refresh.refresh_person(weights[0], "ann", made) is None
    again = refresh.refresh_person(weights[1], "ann", made)
    after = load_avatar(made / ".work" / "ann")
    assert again.version.name == str(store.versions(made, "ann")[-1])
    np.testing.assert_array_equal(after.photos.images, before.photos.images)
    assert after.facts.inputs_sha256 == before.facts.inputs_sha256
    assert after.facts.trained_weights_sha256 != before.facts.trained_weights_sha256
    assert np.abs(after.psi_hat - before.psi_hat).max() > 1e-3
    with pytest.raises(InputError, match="no finished avatar"):
        refresh.refresh_person(weights[1], "bob", made)
    (made / ".work" / "ann" / "inputs.npz").unlink()
    with pytest.raises(InputError, match="personalise again with the photos"):
        refresh.refresh_person(weights[0], "ann", made)
