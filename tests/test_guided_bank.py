"""The bank of guided avatars: mixed batches, rows that stay, and what a deletion leaves."""

import dataclasses
import io
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from serving import models_config
from tests.face_points import COLLINS
from tests.random_avatars import random_avatar, random_guided_people, weights_sha256
from tf_talkinghead import config as configs
from tf_talkinghead.errors import InputError
from tf_talkinghead.export import bank, guided_bank, guided_bank_removal, store, workflow
from tf_talkinghead.export.guided_bank_signatures import GuidedBankRenderer, GuidedMember
from tf_talkinghead.export.guided_signatures import GuidedRenderer
from tf_talkinghead.faces.geometry import turned
from tf_talkinghead.personalization.avatar import render, save_avatar
from tf_talkinghead.personalization.photos import resized_photos
from tf_talkinghead.watermark.keys import key_name


@pytest.fixture(scope="module")
def people():
    return random_guided_people()


def publish(models, avatars, key=None):
    first = next(iter(avatars.values()))
    return guided_bank.export_guided_bank(
        first.config, first.weights, weights_sha256(), models, avatars, watermark_key=key
    )


@pytest.fixture(scope="module")
def published(people, tmp_path_factory):
    """Version 1 of ann and bob, version 2 of bob and cem; everybody's work folder. Only read."""
    models = tmp_path_factory.mktemp("models")
    for name, avatar in people.items():
        work = store.work_dir(models, name)
        save_avatar(avatar, work)
        np.savez_compressed(work / "inputs.npz", images=avatar.photos.images)
    publish(models, {name: people[name] for name in ("ann", "bob")})
    publish(models, {name: people[name] for name in ("bob", "cem")})
    return models


def card_of(models, version):
    return json.loads((models / "bank" / str(version) / "card.json").read_text())


def rows_of(models, version):
    return {name: own["row"] for name, own in card_of(models, version)["members"].items()}


def motion(count):
    return np.float32([turned(COLLINS, yaw=yaw) for yaw in np.linspace(-14, 14, count)])


def worst(a, b):
    return int(np.abs(np.int64(a) - np.int64(b)).max())


def serve(models, version, name="serving_default"):
    signatures = tf.saved_model.load(str(models / "bank" / str(version))).signatures
    return lambda landmarks, member, key="landmarks": signatures[name](
        **{key: tf.constant(landmarks), "member": tf.constant(np.int32(member))}
    )


def test_rows_of_different_people_equal_their_own_avatars(people, published):
    members = [0, 1, 1, 0, 1, 0]
    result = serve(published, 1)(motion(6), members)
    assert result["ok"].numpy().all()
    for row, name in ((0, "ann"), (1, "bob")):
        chosen = [i for i, member in enumerate(members) if member == row]
        expected = render(people[name], motion(6)[chosen])
        assert worst(result["frames"].numpy()[chosen], expected) <= 1
    alone = [serve(published, 1)(motion(1), [row])["frames"].numpy() for row in (0, 1)]
    assert worst(*alone) > 50  # two people, not one


def test_a_row_of_nobody_or_no_face_is_not_ok_and_harms_nobody(people, published):
    good = motion(1)[0]
    landmarks = np.float32([good, good, good, good, np.full((68, 2), np.nan), good])
    result = serve(published, 2)(landmarks, [1, 0, -1, 99, 1, 1])  # ann, row 0, is in version 1
    assert result["ok"].numpy().tolist() == [True, False, False, False, False, True]
    frames = result["frames"].numpy()
    assert worst(frames[0], frames[5]) <= 1
    reference = render(people["bob"], people["bob"].reference_landmarks[None])[0]
    assert worst(frames[4], reference) <= 1
    assert worst(frames[1], frames[2]) <= 1 and worst(frames[1], frames[3]) <= 1
    empty = serve(published, 2)(np.zeros([0, 68, 2], np.float32), np.zeros([0], np.int32))
    assert empty["frames"].shape == (0, 64, 64, 3)


def test_gaze_and_jpeg(people, published):
    points = np.concatenate([motion(2), np.full((2, 2, 2), np.nan, np.float32)], 1)
    plain = serve(published, 1)(motion(2), [0, 1])["frames"].numpy()
    gaze = serve(published, 1, "render_gaze")(points, [0, 1], "points")
    assert gaze["ok"].numpy().all() and worst(gaze["frames"], plain) == 0
    jpegs = serve(published, 1, "render_jpeg")(motion(2), [0, 1])["jpeg_bytes"].numpy()
    assert tf.io.decode_jpeg(jpegs[1]).shape == (64, 64, 3)


def test_the_card_tells_the_rows_and_that_there_are_photographs(people, published):
    card = card_of(published, 1)
    assert "photographs" in card["photo_notice"] and card["mode"] == "bank"
    assert rows_of(published, 1) == {"ann": 0, "bob": 1}
    assert rows_of(published, 2) == {"bob": 1, "cem": 2}  # a name keeps its row
    bob = card["members"]["bob"]
    assert bob["photos"] == 1 and bob["person"] == "bob"
    np.testing.assert_allclose(
        bob["reference_landmarks"], people["bob"].reference_landmarks, atol=1e-6
    )


def test_larger_frames_equal_those_of_the_persons_own_avatar(people):
    """Frames of twice the size: as each one's own avatar renders them."""
    points = tf.concat([motion(4), tf.fill([4, 2, 2], np.float32(np.nan))], 1)
    members = []
    for row, name in enumerate(("ann", "bob")):
        given = people[name].photos
        photos = dataclasses.replace(given, images=resized_photos(given.images, 128))
        psi_hat = people[name].psi_hat
        members.append(GuidedMember(row, psi_hat, photos, people[name].reference_landmarks))
    model, weights = people["ann"].config.model, people["ann"].weights
    bank = GuidedBankRenderer(model, weights, "float32", False, 95, members, 2, 2, size=128)
    frames, ok = bank.frames(points, tf.constant([0, 1, 0, 1]))
    assert frames.shape == (4, 128, 128, 3) and ok.numpy().all()
    for row, member in enumerate(members):
        own = GuidedRenderer(
            model, weights, member.reference, "float32", False, 95, photos=member.photos, size=128
        )
        expected, _ = own.frames(points[row::2], tf.constant(member.psi_hat))
        assert worst(frames[row::2], expected) <= 1


def holding(models, avatar):
    """The files below `models` that hold pixels of one of the avatar's photos, or its vector."""
    image = avatar.photos.images[0]
    traces = [image[8:24].tobytes(), np.float32(avatar.psi_hat).tobytes()]
    found = []
    for path in models.rglob("*"):
        if not path.is_file():
            continue
        contents = [path.read_bytes()]
        if path.suffix == ".npz":
            with np.load(io.BytesIO(contents[0])) as stored:
                contents += [stored[name].tobytes() for name in stored.files]
        if any(trace in content for trace in traces for content in contents):
            found.append(path.relative_to(models))
    return found


def test_deletion_leaves_no_pixel_and_servers_a_bank(people, published, tmp_path):
    models = tmp_path / "models"
    shutil.copytree(published, models)
    shutil.copytree(models / "bank" / "2", models / ".publishing-bank-killed")
    shutil.copytree(models / "bank" / "1", models / ".deleted-bank-killed" / "it")
    models_config.update(models, pin={"bank": 1})
    assert {path.parts[0] for path in holding(models, people["bob"])} == {
        ".work", "bank", ".publishing-bank-killed", ".deleted-bank-killed",
    }  # fmt: skip
    seen = []

    def follow(version, held):
        seen.append((version, held, store.versions(models, "bank")))

    removed = workflow.delete_person(models, "bob", follow)
    assert any("versions 1, 2 of the bank" in text for text in removed)
    assert seen == [
        (3, [1, 2], [1, 2, 3])
    ]  # published first, removed after the servers have followed
    assert store.versions(models, "bank") == [3] and not holding(models, people["bob"])
    assert not [path for path in models.rglob("*") if path.is_file() and _names(path, b'"bob"')]
    assert rows_of(models, 3) == {"cem": 2} and holding(models, people["cem"])
    result = serve(models, 3)(motion(3), [2, 1, 2])
    assert result["ok"].numpy().tolist() == [True, False, True]
    expected = render(people["cem"], motion(3))
    assert worst(result["frames"].numpy()[[0, 2]], expected[[0, 2]]) <= 1

    (entry,) = models_config.read_if_there(models).model_config_list.config
    assert list(entry.model_version_policy.specific.versions) == [3]
    assert not entry.version_labels  # a server refuses one on a version it has not loaded
    models_config.update(models)
    (entry,) = models_config.read_if_there(models).model_config_list.config
    assert dict(entry.version_labels) == {"stable": 3, "canary": 3}

    # The rows of those who left are never given again, nor after the last version has gone.
    workflow.delete_person(models, "cem")
    assert not store.versions(models, "bank") and not holding(models, people["cem"])
    assert not models_config.read_if_there(models).model_config_list.config
    publish(models, {"bob": people["bob"]})
    assert rows_of(models, 4) == {"bob": 3}


def _names(path, text):
    return text in path.read_bytes()


def test_nothing_is_removed_while_servers_do_not_follow(people, published, tmp_path):
    models = tmp_path / "models"
    shutil.copytree(published, models)

    def follow(version, held):
        raise InputError("a server does not answer")

    with pytest.raises(InputError, match="does not answer"):
        guided_bank_removal.remove(models, "ann", follow)
    assert store.versions(models, "bank") == [1, 2]
    assert guided_bank_removal.remove(models, "ann") == [
        1
    ]  # version 2 never held her: none is made
    assert store.versions(models, "bank") == [2]
    assert guided_bank_removal.remove(models, "ann") == []


def test_a_bank_with_a_private_key_is_published_again_with_that_key_only(people, tmp_path):
    models, key = tmp_path / "models", b"sixteen secret bytes"
    larger = configs.replace(
        people["ann"].config, {"export.size": 128}
    )  # smaller ones have no mark
    pair = {name: dataclasses.replace(people[name], config=larger) for name in ("ann", "bob")}
    publish(models, pair, key)
    work = store.work_dir(models, "bob")
    save_avatar(people["bob"], work)
    with pytest.raises(InputError, match="with the key .*, got public: .* --watermark_key=FILE"):
        workflow.delete_person(models, "bob")
    assert store.versions(models, "bank") == [1] and work.is_dir()  # nothing was removed

    workflow.delete_person(models, "bob", watermark_key=key)
    assert store.versions(models, "bank") == [2] and not holding(models, people["bob"])
    assert card_of(models, 2)["watermark"]["key"] == key_name(key)
    workflow.delete_person(models, "ann")  # the last member: nothing is published again
    assert not store.versions(models, "bank")


def test_who_cannot_be_a_member_is_told(people, published):
    tuned = dataclasses.replace(people["ann"], mode="fine_tune")
    with pytest.raises(InputError, match="x: mode fine_tune"):
        publish(published, {"x": tuned})
    direct, _ = random_avatar("tiny", mode="vector")
    assert not bank.join(published, "x", direct)
    assert store.versions(published, "bank") == [1, 2]
