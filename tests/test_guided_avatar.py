"""A guided avatar from images to SavedModel: photos inside, and signatures with gaze."""

import dataclasses
import io
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.c_api import Session
from tests.face_points import COLLINS
from tests.random_avatars import random_generator, tiny_guided
from tests.xmp import xmp_mark
from tf_talkinghead import provenance
from tf_talkinghead.errors import InputError
from tf_talkinghead.export import saved_model
from tf_talkinghead.faces.geometry import expressed, turned
from tf_talkinghead.faces.warping import warp
from tf_talkinghead.personalization.avatar import load_avatar, render, save_avatar
from tf_talkinghead.personalization.personalize import personalize
from tf_talkinghead.weights.store import empty

POSES = np.float32(
    [COLLINS, turned(COLLINS, yaw=12.0), expressed(COLLINS, 0.9, 0.0, 0.0), turned(COLLINS, yaw=-9)]
)
PUPILS = np.float32([[pose[36:42].mean(0), pose[42:48].mean(0)] for pose in POSES])


@pytest.fixture(scope="module")
def trained():
    made = empty(tiny_guided())
    made.generator.set_weights(random_generator(tiny_guided()).get_weights())
    made.generator.flow_gain.gain.assign(0.5)
    made.provenance = {"sha256": "5" * 64}
    return made


@pytest.fixture(scope="module")
def images():
    """uint8 [4, 64, 64, 3]: noise that moves with the face."""
    coarse = np.random.default_rng(0).integers(0, 255, (8, 8, 3)).astype(np.uint8)
    pattern = coarse.repeat(8, 0).repeat(8, 1)
    return np.stack([warp(pattern, COLLINS, pose) for pose in POSES])


@pytest.fixture(scope="module")
def avatar(trained, images):
    config = dataclasses.replace(trained.config.personalize, mode="feed_forward")
    return personalize(trained, images, POSES, config, pupils=PUPILS)


@pytest.fixture(scope="module")
def published(avatar, tmp_path_factory):
    return saved_model.export_person(avatar, tmp_path_factory.mktemp("models"), "ann")


def motion(count, seed=0):
    noise = np.random.default_rng(seed).normal(0, 0.004, (count, 68, 2))
    return np.float32([turned(COLLINS, yaw=yaw) for yaw in np.linspace(-15, 15, count)] + noise)


def worst(a, b):
    return int(np.abs(np.int64(a) - np.int64(b)).max())


def test_the_avatar_carries_the_persons_photos(avatar, images):
    assert len(avatar.photos) == 4 and avatar.mode == "feed_forward" and avatar.facts.steps == 0
    np.testing.assert_array_equal(avatar.photos.images, images)
    frames = render(avatar, motion(5))
    assert frames.shape == (5, 64, 64, 3) and frames.std() > 20
    assert worst(frames[0], frames[4]) > 20  # the head turns


def test_no_more_photos_than_asked_for(trained, images):
    export = dataclasses.replace(trained.config.export, sources=2)
    few = dataclasses.replace(trained, config=dataclasses.replace(trained.config, export=export))
    config = dataclasses.replace(trained.config.personalize, mode="feed_forward")
    assert len(personalize(few, images, POSES, config).photos) == 2


def test_a_saved_avatar_renders_the_same(avatar, tmp_path):
    save_avatar(avatar, tmp_path)
    again = load_avatar(tmp_path)
    np.testing.assert_array_equal(again.photos.pupils, avatar.photos.pupils)
    assert worst(render(again, motion(3)), render(avatar, motion(3))) <= 1


def test_an_avatar_whose_description_is_damaged_is_refused(avatar, tmp_path):
    """Found by fuzzing: facts that are no dictionary."""
    save_avatar(avatar, tmp_path)
    description = json.loads((tmp_path / "avatar.json").read_text())
    for changed in ({**description, "facts": "text"}, {**description, "config": 3}, {"mode": "x"}):
        (tmp_path / "avatar.json").write_text(json.dumps(changed))
        with pytest.raises(InputError, match="personalise again"):
            load_avatar(tmp_path)


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_exported_frames_equal_those_of_the_avatar(avatar, published, batch):
    expected = render(avatar, motion(batch))
    serve = tf.saved_model.load(str(published)).signatures["serving_default"]
    result = serve(landmarks=tf.constant(motion(batch)))
    assert worst(result["frames"], expected) <= 1 and result["ok"].numpy().all()


def test_the_c_runtime_renders_the_same(avatar, published):
    session = Session(published)
    for batch in (1, 5):
        result = session.run("serving_default", landmarks=motion(batch))
        assert worst(result["frames"], render(avatar, motion(batch))) <= 1


def test_jpegs_carry_the_mark(published):
    signatures = tf.saved_model.load(str(published)).signatures
    points = tf.constant(motion(2))
    frames = signatures["serving_default"](landmarks=points)["frames"].numpy()
    for name, inputs in (
        ("render_jpeg", {"landmarks": points}),
        ("render_gaze_jpeg", {"points": with_gaze(points, np.nan)}),
    ):
        for picture, frame in zip(signatures[name](**inputs)["jpeg_bytes"].numpy(), frames):
            assert xmp_mark(picture) == (provenance.SOURCE_TYPE, provenance.NOTICE)
            plain = tf.io.encode_jpeg(frame, format="rgb", quality=95).numpy()
            assert worst(Image.open(io.BytesIO(picture)), Image.open(io.BytesIO(plain))) <= 12


def with_gaze(landmarks, pupils):
    rows = np.broadcast_to(np.float32(pupils), (len(landmarks), 2, 2))
    return tf.concat([landmarks, rows], 1)


def test_unknown_gaze_is_as_in_the_photo_and_known_gaze_moves_the_picture(published):
    signatures = tf.saved_model.load(str(published)).signatures
    gaze, plain = signatures["render_gaze"], signatures["serving_default"]
    landmarks = tf.constant(POSES[:1])
    still = plain(landmarks=landmarks)["frames"].numpy()
    as_is = gaze(points=with_gaze(landmarks, np.nan))
    np.testing.assert_array_equal(as_is["frames"], still)
    assert as_is["ok"].numpy().all()
    aside = gaze(points=with_gaze(landmarks, PUPILS[:1] + [0.05, 0.0]))
    assert aside["ok"].numpy().all() and worst(aside["frames"], still) > 0


def test_rows_that_are_no_face_are_the_reference_and_harm_nobody(avatar, published):
    signatures = tf.saved_model.load(str(published)).signatures
    good = motion(1)[0]
    rows = np.float32(
        [good, np.full((68, 2), np.nan), np.full((68, 2), 0.5), good * 90]
        + [np.stack([np.linspace(0, 1, 68)] * 2, -1), good]
    )
    result = signatures["serving_default"](landmarks=tf.constant(rows))
    assert result["ok"].numpy().tolist() == [True, False, False, False, False, True]
    reference = render(avatar, avatar.reference_landmarks[None])[0]
    assert all(worst(result["frames"][row], reference) <= 1 for row in range(1, 5))
    np.testing.assert_array_equal(result["frames"][0], result["frames"][5])
    one_pupil = np.float32([[np.nan, np.nan], [0.6, 0.4]])
    for pupils in (one_pupil, np.full((2, 2), np.inf)):
        points = with_gaze(tf.constant(rows[:1]), pupils)
        assert signatures["render_gaze"](points=points)["ok"].numpy().tolist() == [False]
    assert signatures["serving_default"](landmarks=tf.zeros([0, 68, 2]))["frames"].shape == (
        0,
        64,
        64,
        3,
    )
