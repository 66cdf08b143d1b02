"""From files to a published avatar and its deletion; mistakes are refused in one sentence."""

import hashlib
import json

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.random_avatars import random_avatar, random_generator, weights_sha256
from tf_talkinghead import config
from tf_talkinghead.errors import InputError, TalkingHeadError
from tf_talkinghead.export import bank_workflow, store
from tf_talkinghead.export import workflow as room
from tf_talkinghead.export.bank_files import read_members
from tf_talkinghead.personalization.avatar import load_avatar, save_avatar
from tf_talkinghead.personalization.reference_images import list_files, person_images
from tf_talkinghead.weights.store import empty


@pytest.fixture
def photo(portrait, tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(portrait).save(path)
    return path


@pytest.fixture
def untrained(monkeypatch):
    """`load_trained` gives tiny networks without training."""
    trained = empty(config.preset("tiny"))
    trained.generator.set_weights(random_generator(trained.config).get_weights())
    trained.provenance = {"sha256": weights_sha256()}
    for module in (room, bank_workflow):
        monkeypatch.setattr(module, "load_trained", lambda source: trained)
    return trained


def _members(models):
    """The names in version 1 of the bank."""
    return set(read_members(models / "bank" / "1" / "vectors.npz").vectors)


def test_photo_to_avatar_to_bank_and_away(photo, tmp_path, untrained):
    models = tmp_path / "models"
    made = room.make_person("any", "ann", [photo], models, mode="feed_forward", progress=False)
    assert made.version == models / "ann" / "1" and not made.in_bank
    card = json.loads((made.version / "card.json").read_text())
    assert card["inputs_sha256"] == [hashlib.sha256(photo.read_bytes()).hexdigest()]
    assert {path.name for path in made.previews} == {"preview.png", "preview.mp4"}
    assert "AI-generated" in Image.open(made.work / "preview.png").info["Comment"]
    bank = bank_workflow.publish_bank("any", models)
    assert bank.version == models / "bank" / "1" and bank.people == ["ann"]
    assert card["trained_weights_sha256"] == read_members(bank.version / "vectors.npz").generator
    again = room.make_person("any", "bob", [photo], models, mode="feed_forward", progress=False)
    assert again.in_bank and _members(models) == {"ann", "bob"}
    assert room.publish_again(models, "ann", dtype="float16", keep_versions=1).name == "2"
    assert store.versions(models, "ann") == [2]

    removed = room.delete_person(models, "ann")
    assert any("version" in text for text in removed) and any("bank" in text for text in removed)
    assert _members(models) == {"bob"} and store.people(models) == ["bob"]
    assert not [path for path in models.rglob("*") if path.name == "ann"]
    with pytest.raises(InputError, match="nobody of that name"):
        room.delete_person(models, "ann")


def test_a_work_folder_elsewhere_is_found_again_and_removed(tmp_path):
    avatar, _ = random_avatar("tiny")
    models, elsewhere = tmp_path / "models", tmp_path / "elsewhere"
    work = elsewhere / "ann"
    store.note_place(models, "ann", work)
    save_avatar(avatar, work)
    assert room.publish_again(models, "ann").name == "1"
    room.delete_person(models, "ann")
    assert not work.exists() and elsewhere.exists()


def test_the_newest_work_folder_is_exported_and_all_are_removed(photo, tmp_path, untrained):
    models, elsewhere = tmp_path / "models", tmp_path / "elsewhere"
    room.make_person(
        "any", "ann", [photo], models, mode="feed_forward", work_dir=elsewhere, progress=False
    )
    room.make_person("any", "ann", [photo], models, mode="vector", steps=2, progress=False)
    assert store.places(models, "ann") == [elsewhere / "ann", models / ".work" / "ann"]
    card = json.loads((room.publish_again(models, "ann") / "card.json").read_text())
    assert card["mode"] == "vector"
    room.make_person(
        "any", "bob", [photo], models, mode="feed_forward", work_dir=elsewhere, progress=False
    )
    assert bank_workflow.publish_bank("any", models).people == [
        "ann",
        "bob",
    ]  # wherever they are worked on
    removed = room.delete_person(models, "ann")
    assert any(str(elsewhere) in text for text in removed)
    assert (
        not (elsewhere / "ann").exists()
        and not (models / ".work" / "ann").exists()
        and (elsewhere / "bob").exists()
    )


def test_arrays_of_another_run_or_damaged_are_refused(tmp_path):
    save_avatar(random_avatar("tiny", seed=1)[0], tmp_path / "one")
    save_avatar(random_avatar("tiny", seed=2)[0], tmp_path / "two")
    (tmp_path / "one" / "avatar.npz").write_bytes(
        (tmp_path / "two" / "avatar.npz").read_bytes()
    )  # as a kill leaves it
    with pytest.raises(InputError, match="not the one avatar.json was written for"):
        load_avatar(tmp_path / "one")


def _side_by_side(portrait):
    return np.concatenate([portrait[:320, 64:384]] * 2, axis=1)


def test_refused_images(portrait, photo, tmp_path):
    data = config.PreparationConfig()
    blank, two, text = tmp_path / "blank.png", tmp_path / "two.png", tmp_path / "text.jpg"
    Image.fromarray(np.full((200, 200, 3), 90, np.uint8)).save(blank)
    Image.fromarray(_side_by_side(portrait)).save(two)
    text.write_text("no picture")
    (tmp_path / "folder").mkdir()
    for paths, shots, words in [
        ([blank], None, "blank.png"),
        ([two], None, "faces"),
        ([text], None, "text.jpg"),
        ([tmp_path / "gone.png"], None, "no such"),
        ([tmp_path / "folder"], None, "no photos"),
        ([], None, "got none"),
        ([photo], 3, "only 1"),
        ([photo], 0, "1 or more"),
    ]:
        with pytest.raises(TalkingHeadError, match=words):
            person_images(paths, shots, 32, data)


def test_a_folder_is_its_photos_in_order(photo, portrait):
    small = cv2.resize(portrait, (256, 256), interpolation=cv2.INTER_AREA)
    Image.fromarray(small).save(photo.parent / "b.jpg", quality=95)
    (photo.parent / "notes.txt").write_text("x")
    assert [path.name for path in list_files([photo.parent])] == ["b.jpg", "photo.png"]
    found = person_images([photo.parent], None, 32, config.PreparationConfig())
    assert (
        found.images.shape == (2, 32, 32, 3)
        and found.names == ["b.jpg", "photo.png"]
        and len(found.sha256) == 2
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": "magic"},
        {"steps": 0},
        {"keep_versions": 0},
        {"person": "../up"},
        {"person": "bank"},
        {"dtype": "int8"},
        {"shots": 0},
        {"weights": "nowhere"},
    ],
)
def test_wrong_flags_are_refused_before_anything_is_written(tmp_path, photo, changes):
    arguments = {
        "weights": "demo",
        "person": "ann",
        "images": [photo],
        "models": tmp_path / "models",
        **changes,
    }
    with pytest.raises(InputError):
        room.make_person(**arguments)
    assert not (tmp_path / "models").exists()


def test_members_made_with_other_weights_are_named(tmp_path, untrained):
    """Nobody disappears from the bank unsaid."""
    for name, seed in (("ann", 0), ("eve", 1)):
        avatar, _ = random_avatar("tiny", seed=seed, mode="vector")
        save_avatar(avatar, store.work_dir(tmp_path, name))
    bank = bank_workflow.publish_bank("any", tmp_path)
    assert bank.people == ["ann"] and bank.left_out == ["eve"]
