"""One generator, many people: rows of different people in one batch, people joining and leaving without a new version."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from tests.face_points import COLLINS
from tests.random_avatars import random_avatar
from tf_talkinghead.data.drawing import draw_landmarks
from tf_talkinghead.errors import InputError
from tf_talkinghead.export import bank, store
from tf_talkinghead.files import arrays_sha256
from tf_talkinghead.personalization.avatar import save_avatar


@pytest.fixture(scope="module")
def shared():
    """Two people on one generator, and that generator in its training form."""
    ann, generator = random_avatar("tiny", mode="feed_forward")
    psi_hat = np.random.default_rng(5).normal(0, 0.5, ann.psi_hat.shape).astype(np.float32)
    return ann, dataclasses.replace(ann, psi_hat=psi_hat, mode="vector"), generator


@pytest.fixture
def models(shared, tmp_path):
    ann, bob, _ = shared
    bank.export_bank(ann.config, ann.weights, tmp_path, {"ann": ann, "bob": bob}, COLLINS)
    return tmp_path


def test_rows_of_different_people_equal_the_training_graph(shared, models):
    ann, bob, generator = shared
    vectors = bank.read_vectors(models)
    assert vectors["ann"].dtype == np.float16 and vectors["ann"].shape == ann.psi_hat.shape
    landmarks = (COLLINS + np.random.default_rng(0).normal(0, 0.02, (3, 68, 2))).astype(np.float32)
    person = np.stack([vectors["ann"], vectors["bob"], vectors["ann"]])
    serve = tf.saved_model.load(str(models / "bank" / "1")).signatures["serving_default"]
    frames = serve(landmarks=tf.constant(landmarks), person=tf.constant(person))["frames"].numpy()
    for avatar, rows in ((ann, [0, 2]), (bob, [1])):
        psi_hat = np.repeat(
            avatar.psi_hat[None].astype(np.float16).astype(np.float32), len(rows), 0
        )
        x_hat = generator(draw_landmarks(tf.constant(landmarks[rows]), 32), psi_hat=psi_hat).numpy()
        expected = np.rint((x_hat.astype(np.float64) + 1) / 2 * 255)
        assert np.abs(frames[rows] - expected).max() <= 1
    assert np.abs(frames[0].astype(int) - frames[1]).max() > 50  # two people, not one


def test_a_vector_that_is_not_finite_spoils_its_own_row_only(shared, models):
    serve = tf.saved_model.load(str(models / "bank" / "1")).signatures["serving_default"]
    person = np.stack([shared[0].psi_hat] * 2).astype(np.float16)
    good = serve(landmarks=tf.constant(np.stack([COLLINS] * 2)), person=tf.constant(person))[
        "frames"
    ].numpy()
    person[1, 3] = np.nan
    result = serve(landmarks=tf.constant(np.stack([COLLINS] * 2)), person=tf.constant(person))
    assert result["ok"].numpy().tolist() == [True, False] and np.array_equal(
        result["frames"][0], good[0]
    )


def test_jpegs_and_card(models):
    signatures = tf.saved_model.load(str(models / "bank" / "1")).signatures
    person = tf.constant(bank.read_vectors(models)["ann"][None])
    picture = signatures["render_jpeg"](landmarks=tf.constant(COLLINS[None]), person=person)[
        "jpeg_bytes"
    ].numpy()[0]
    assert picture[:2] == b"\xff\xd8" and b"AI-generated" in picture
    card = json.loads(signatures["describe"](query=tf.zeros([1], tf.int32))["card"].numpy()[0])
    assert card["mode"] == "bank" and card["ai_generated"] is True


def test_people_join_and_leave_without_a_new_version(shared, models):
    ann, bob, _ = shared
    carl = dataclasses.replace(ann, psi_hat=ann.psi_hat * 0.5)
    assert bank.join(models, "carl", carl)
    assert sorted(bank.read_vectors(models)) == ["ann", "bob", "carl"] and store.versions(
        models, "bank"
    ) == [1]
    np.testing.assert_allclose(
        json.loads((models / "bank.cards.json").read_text())["carl"]["reference_landmarks"],
        COLLINS,
        atol=1e-6,
    )
    assert bank.leave(models, "ann") and not bank.leave(models, "ann")
    assert sorted(bank.read_vectors(models)) == ["bob", "carl"]
    assert "ann" not in json.loads((models / "bank.cards.json").read_text())


def test_those_with_another_generator_do_not_join(shared, models, tmp_path):
    ann = shared[0]
    other, _ = random_avatar("tiny", seed=1, mode="vector")
    tuned = dataclasses.replace(ann, mode="fine_tune")
    assert not bank.join(models, "x", other) and not bank.join(models, "x", tuned)
    assert "x" not in bank.read_vectors(models)
    assert not bank.join(tmp_path / "empty", "x", ann)  # no bank there
    with pytest.raises(InputError, match="other weights"):
        bank.export_bank(ann.config, ann.weights, models, {"x": other}, COLLINS)
    with pytest.raises(InputError, match="generator of their own"):
        bank.export_bank(ann.config, ann.weights, models, {"x": tuned}, COLLINS)
    huge = dataclasses.replace(ann, psi_hat=np.full_like(ann.psi_hat, 1e6))
    with pytest.raises(InputError, match="float16"):
        bank.join(models, "x", huge)


def test_people_are_found_in_the_work_folders(shared, tmp_path):
    ann, bob, _ = shared
    other, _ = random_avatar("tiny", seed=1, mode="vector")
    for name, avatar in (
        ("ann", ann),
        ("bob", bob),
        ("eve", other),
        ("tom", dataclasses.replace(ann, mode="fine_tune")),
    ):
        save_avatar(avatar, store.work_dir(tmp_path, name))
    digest = arrays_sha256(ann.weights)
    assert sorted(bank.bank_people(tmp_path, [], digest)) == ["ann", "bob"]
    assert list(bank.bank_people(tmp_path, ["eve"], digest)) == [
        "eve"
    ]  # named: refused later, with the reason
    with pytest.raises(InputError, match="no finished avatar"):
        bank.bank_people(tmp_path, ["nobody"], digest)
