"""One generator for many people: mixed batches, membership, and what deletion leaves."""

import dataclasses
import io
import json
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.face_points import COLLINS
from tests.random_avatars import random_avatar, weights_sha256
from tests.xmp import xmp_mark
from tf_talkinghead import provenance
from tf_talkinghead.data.drawing import draw_landmarks
from tf_talkinghead.errors import InputError
from tf_talkinghead.export import bank, store
from tf_talkinghead.export.bank_files import Members, read_members, write_members
from tf_talkinghead.personalization.avatar import Facts, save_avatar


@pytest.fixture(scope="module")
def shared():
    """Two people on one generator, and that generator in its training form."""
    ann, generator = random_avatar("tiny", mode="feed_forward")
    psi_hat = np.random.default_rng(5).normal(0, 0.5, ann.psi_hat.shape).astype(np.float32)
    return ann, dataclasses.replace(ann, psi_hat=psi_hat, mode="vector"), generator


@pytest.fixture(scope="module")
def other():
    """Somebody on another generator."""
    return random_avatar("tiny", seed=1, mode="vector")[0]


def publish(models, avatars, seed=0, **options):
    first = next(iter(avatars.values()))
    generator = weights_sha256(seed)
    return bank.export_bank(first.config, first.weights, generator, models, avatars, **options)


def publish_members(models, avatars, seed=0):
    """A bank version without a SavedModel, for what concerns its members only; fast."""

    def write(folder, version):
        vectors = {name: avatar.psi_hat.astype(np.float16) for name, avatar in avatars.items()}
        cards = {name: {"person": name} for name in avatars}
        write_members(
            folder / "vectors.npz", Members(version, weights_sha256(seed), vectors, cards)
        )

    return store.publish(models, "bank", write)


def members(models, version=1):
    return read_members(models / "bank" / str(version) / "vectors.npz")


@pytest.fixture(scope="module")
def published(shared, tmp_path_factory):
    """Models with version 1 of a bank of ann and bob; tests only read it."""
    ann, bob, _ = shared
    models = tmp_path_factory.mktemp("models")
    publish(models, {"ann": ann, "bob": bob})
    return models


@pytest.fixture(scope="module")
def signatures(published):
    return tf.saved_model.load(str(published / "bank" / "1")).signatures


def _motion(rows):
    noise = np.random.default_rng(0).normal(0, 0.02, (rows, 68, 2))
    return (COLLINS + noise).astype(np.float32)


def test_rows_of_different_people_equal_the_training_graph(shared, published, signatures):
    ann, bob, generator = shared
    vectors = members(published).vectors
    assert vectors["ann"].dtype == np.float16 and vectors["ann"].shape == ann.psi_hat.shape
    landmarks = _motion(3)
    person = np.stack([vectors["ann"], vectors["bob"], vectors["ann"]])
    frames = signatures["serving_default"](
        landmarks=tf.constant(landmarks), person=tf.constant(person)
    )["frames"].numpy()
    for avatar, rows in ((ann, [0, 2]), (bob, [1])):
        psi_hat = np.repeat(np.float32(avatar.psi_hat.astype(np.float16))[None], len(rows), 0)
        x_hat = generator(draw_landmarks(tf.constant(landmarks[rows]), 32), psi_hat=psi_hat).numpy()
        expected = np.rint((x_hat.astype(np.float64) + 1) / 2 * 255)
        assert np.abs(frames[rows] - expected).max() <= 1
    assert np.abs(frames[0].astype(int) - frames[1]).max() > 50  # two people, not one


def test_the_float32_signatures_draw_the_same(published, signatures):
    """REST knows no float16: what it sends as float32 must give the same bytes."""
    vectors = members(published).vectors
    person, landmarks = np.stack([vectors["ann"], vectors["bob"]]), tf.constant(_motion(2))
    for name, output in (("serving_default", "frames"), ("render_jpeg", "jpeg_bytes")):
        half = signatures[name](landmarks=landmarks, person=tf.constant(person))
        whole = signatures[f"{name}_float32"](
            landmarks=landmarks, person=tf.constant(person.astype(np.float32))
        )
        assert whole["ok"].numpy().all()
        assert np.array_equal(whole[output].numpy(), half[output].numpy())


def test_a_vector_that_is_not_finite_spoils_its_own_row_only(shared, signatures):
    serve, landmarks = signatures["serving_default"], tf.constant(np.stack([COLLINS] * 2))
    person = np.stack([shared[0].psi_hat] * 2).astype(np.float16)
    good = serve(landmarks=landmarks, person=tf.constant(person))["frames"].numpy()
    person[1, 3] = np.nan
    result = serve(landmarks=landmarks, person=tf.constant(person))
    assert result["ok"].numpy().tolist() == [True, False]
    assert np.array_equal(result["frames"][0], good[0])


def test_jpegs_and_card(published, signatures):
    person = tf.constant(members(published).vectors["ann"][None])
    result = signatures["render_jpeg"](landmarks=tf.constant(COLLINS[None]), person=person)
    picture = result["jpeg_bytes"].numpy()[0]
    assert Image.open(io.BytesIO(picture)).size == (32, 32)
    assert xmp_mark(picture) == (provenance.SOURCE_TYPE, provenance.NOTICE)
    card = json.loads(signatures["describe"](query=tf.zeros([1], tf.int32))["card"].numpy()[0])
    assert card["mode"] == "bank" and card["ai_generated"] is True
    assert card["trained_weights_sha256"] == members(published).generator == weights_sha256()


def test_vectors_and_cards_lie_inside_the_version_and_nowhere_else(published):
    found = members(published)
    assert found.version == 1 and found.generator == weights_sha256()
    assert {path.name for path in published.iterdir()} == {"bank", ".locks"}
    np.testing.assert_allclose(
        found.cards["ann"]["reference_landmarks"], COLLINS, rtol=0, atol=1e-6
    )


def test_an_older_version_keeps_its_own_vectors(shared, other, tmp_path):
    """The fault: one file for all, overwritten while `stable` stayed on the older generator."""
    publish(tmp_path, {"ann": shared[0]})
    publish(tmp_path, {"ann": other}, seed=1)
    for version, avatar, seed in ((1, shared[0], 0), (2, other, 1)):
        found = members(tmp_path, version)
        assert found.version == version and found.generator == weights_sha256(seed)
        assert np.array_equal(found.vectors["ann"], avatar.psi_hat.astype(np.float16))


def test_people_join_and_leave_without_a_new_version(shared, tmp_path):
    ann, bob, _ = shared
    publish_members(tmp_path, {"ann": ann, "bob": bob})
    carl = dataclasses.replace(ann, psi_hat=ann.psi_hat * 0.5)
    assert bank.join(tmp_path, "carl", carl)
    assert store.versions(tmp_path, "bank") == [1]
    assert np.array_equal(members(tmp_path).vectors["carl"], carl.psi_hat.astype(np.float16))
    assert members(tmp_path).cards["carl"]["person"] == "carl"
    assert bank.leave(tmp_path, "ann") and not bank.leave(tmp_path, "ann")
    assert members(tmp_path).vectors.keys() == members(tmp_path).cards.keys() == {"bob", "carl"}


def test_joining_reaches_every_version_with_the_newest_generator_and_no_other(
    shared, other, tmp_path
):
    ann = shared[0]
    publish_members(tmp_path, {"eve": other}, seed=1)
    for _ in range(2):
        publish_members(tmp_path, {"ann": ann})
    carl = dataclasses.replace(ann, psi_hat=ann.psi_hat * 0.5)
    assert bank.join(tmp_path, "carl", carl)
    assert [sorted(members(tmp_path, v).vectors) for v in (1, 2, 3)] == [
        ["eve"],
        ["ann", "carl"],
        ["ann", "carl"],
    ]
    assert not bank.join(tmp_path, "dan", other)  # version 1 has this generator, but not the newest
    assert bank.leave(tmp_path, "carl") and bank.leave(tmp_path, "eve")
    assert [sorted(members(tmp_path, v).vectors) for v in (1, 2, 3)] == [[], ["ann"], ["ann"]]


def test_nothing_of_a_member_stays_after_leaving(shared, tmp_path):
    """Not in any file of any version, SavedModel included, nor in what killed writers left."""
    ann, bob, _ = shared
    reference = (COLLINS * 0.9).astype(np.float32)
    ann = dataclasses.replace(ann, reference_landmarks=reference)
    version = publish(tmp_path, {"annabel": ann, "bob": bob})
    for killed in (".vectors.npz.partial", ".vectors.npz-killed"):  # the latter by version 0.1
        (version / killed).write_bytes((version / "vectors.npz").read_bytes())
    staging = tmp_path / ".publishing-bank-killed"
    staging.mkdir()
    (staging / "vectors.npz").write_bytes((version / "vectors.npz").read_bytes())
    assert bank.leave(tmp_path, "annabel")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert version / "saved_model.pb" in files
    vector = ann.psi_hat.astype(np.float16).tobytes()
    text = f"{reference[0, 0]:.5f}".encode()
    for path in files:
        content = path.read_bytes()
        assert not path.name.startswith(".vectors"), path
        for trace in (b"annabel", vector, reference.tobytes(), text):
            assert trace not in content, path
    assert zipfile.ZipFile(version / "vectors.npz").testzip() is None
    assert not staging.exists()


def test_membership_does_not_depend_on_rounding(shared, tmp_path):
    """Folding on another machine gives other last digits; the weights file is the same."""
    ann = shared[0]
    publish_members(tmp_path, {"ann": ann})
    rounded = [np.nextafter(weight, np.float32(9)) for weight in ann.weights]
    bob = dataclasses.replace(ann, weights=rounded)
    assert bank.join(tmp_path, "bob", bob)
    save_avatar(bob, store.work_dir(tmp_path, "bob"))
    found, left_out = bank.bank_people(tmp_path, [], weights_sha256())
    assert list(found) == ["bob"] and not left_out
    publish(tmp_path, {"ann": ann, "bob": bob})
    assert sorted(members(tmp_path, 2).vectors) == ["ann", "bob"]


def test_those_with_another_generator_do_not_join(shared, other, tmp_path):
    ann = shared[0]
    publish(tmp_path, {"ann": ann})
    tuned = dataclasses.replace(ann, mode="fine_tune")
    unknown = dataclasses.replace(ann, facts=Facts())
    assert not any(bank.join(tmp_path, "x", avatar) for avatar in (other, tuned, unknown))
    assert "x" not in members(tmp_path).vectors
    assert not bank.join(tmp_path / "empty", "x", ann)  # no bank there
    for avatar in (other, unknown):
        with pytest.raises(InputError, match="x: made with other weights"):
            publish(tmp_path, {"ann": ann, "x": avatar})
    with pytest.raises(InputError, match="generator of their own"):
        publish(tmp_path, {"x": tuned})
    huge = dataclasses.replace(ann, psi_hat=np.full_like(ann.psi_hat, 1e6))
    with pytest.raises(InputError, match="float16"):
        bank.join(tmp_path, "x", huge)
    assert store.versions(tmp_path, "bank") == [1]


def test_people_are_found_in_the_work_folders(shared, other, tmp_path):
    ann, bob, _ = shared
    tuned = dataclasses.replace(ann, mode="fine_tune")
    for name, avatar in {"ann": ann, "bob": bob, "eve": other, "tom": tuned}.items():
        save_avatar(avatar, store.work_dir(tmp_path, name))
    found, left_out = bank.bank_people(tmp_path, [], weights_sha256())
    assert sorted(found) == ["ann", "bob"] and left_out == ["eve"]
    # Somebody named is taken, and refused later with the reason.
    assert list(bank.bank_people(tmp_path, ["eve"], weights_sha256())[0]) == ["eve"]
    with pytest.raises(InputError, match="no finished avatar"):
        bank.bank_people(tmp_path, ["nobody"], weights_sha256())


def test_the_files_of_version_0_1_go_with_the_next_publication_or_deletion(shared, tmp_path):
    ann = shared[0]

    def old_bank():
        np.savez(tmp_path / "bank.vectors.npz", ann=ann.psi_hat.astype(np.float16))
        (tmp_path / "bank.cards.json").write_text('{"ann": {}}')

    old_bank()
    assert not bank.leave(tmp_path, "bob") and (tmp_path / "bank.vectors.npz").exists()
    assert bank.leave(tmp_path, "ann") and not list(tmp_path.glob("bank.*"))
    old_bank()
    assert not bank.join(tmp_path, "bob", ann)  # that bank does not say which generator it has
    publish(tmp_path, {"ann": ann})
    assert not list(tmp_path.glob("bank.*"))
