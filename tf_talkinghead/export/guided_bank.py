"""The bank of guided avatars: one generator, with the photos and the vector of each member inside.

    <models>/bank/<version>/            SavedModel, see guided_bank_signatures.py
    <models>/bank/<version>/bank.json   what it was made with, and the row of each member
    <models>/bank/.last_row             number of rows ever given; stays when versions are removed

Members are named by rows. A name keeps its row in every version, and the row of a removed member is
never given again, so a client that holds a row gets the same person from any version, or ok false.
The card holds names and rows: a client needs no file.

A guided avatar contains photographs of the person. They lie in the SavedModel, so every new member
needs a new version, and deleting a person removes every version that held them
(guided_bank_removal.py).
"""

import dataclasses
import json
import os
import pathlib

import numpy as np
import tensorflow as tf

from tf_talkinghead import config as configs
from tf_talkinghead import files
from tf_talkinghead.config import Config
from tf_talkinghead.errors import InputError
from tf_talkinghead.export import card as cards
from tf_talkinghead.export import store
from tf_talkinghead.export.bank_members import check_member, member_card
from tf_talkinghead.export.guided_bank_signatures import (
    NOBODY,
    GuidedBankModule,
    GuidedBankRenderer,
    GuidedMember,
)
from tf_talkinghead.export.marking import check_key, marking
from tf_talkinghead.export.saved_model import check_dtype, write_saved_model
from tf_talkinghead.export.store import BANK
from tf_talkinghead.personalization.avatar import Avatar
from tf_talkinghead.personalization.photos import Photos, chosen_rows, resized_photos

BANK_FILE = "bank.json"
_LAST_ROW_FILE = ".last_row"
_SCHEMA = 1
# Entries of a person's card for which the bank's own values hold.
_OF_THE_BANK = ("resolution", "max_batch_size", "settings", "software")


@dataclasses.dataclass
class GuidedBank:
    """The content of one version."""

    config: Config
    weights: list[np.ndarray]  # of the folded generator, in its own order
    generator: str  # SHA-256 of the weights file that they were read from
    dtype: str
    bfloat16_compute: bool
    rows: int  # number of rows given so far
    members: dict[str, GuidedMember]
    cards: dict[str, dict]
    watermark_key: bytes | None = None  # None: the public one


def export_guided_bank(
    config: Config,
    weights: list[np.ndarray],
    generator: str,
    models_dir: str | os.PathLike,
    avatars: dict[str, Avatar],
    dtype: str = "float32",
    bfloat16_compute: bool = False,
    watermark_key: bytes | None = None,
) -> pathlib.Path:
    """Publishes the generator with its members as the next version; arguments as `export_bank`.

    The caller holds `store.lock(..., BANK)`.

    Raises:
      InputError: an unknown dtype, or a member with another generator; the message names them.
    """
    check_dtype(dtype)
    rows = _known_rows(models_dir)
    count = max(_last_row(models_dir), *(row + 1 for row in rows.values()), 0)
    members, described = {}, {}
    for name, avatar in sorted(avatars.items()):
        check_member(name, avatar, generator)
        if name not in rows:
            rows[name], count = count, count + 1
        every, most = avatar.photos, config.export.bank_sources
        photos = every.chosen(chosen_rows(every.images, every.landmarks, most))
        reference = np.float32(avatar.reference_landmarks)
        members[name] = GuidedMember(rows[name], np.float32(avatar.psi_hat), photos, reference)
        described[name] = (
            member_card(name, avatar) | cards.photographs(photos) | {"row": rows[name]}
        )
    _to_one_size(members.values(), config.export.size or config.model.image_size)
    bank = GuidedBank(
        config,
        weights,
        generator,
        dtype,
        bfloat16_compute,
        count,
        members,
        described,
        watermark_key,
    )
    return publish(models_dir, bank)


def read_bank(
    models_dir: str | os.PathLike, version: int, watermark_key: bytes | None = None
) -> GuidedBank:
    """The content of a version, from its own files, to be marked with `watermark_key`.

    Raises:
      InputError: the files cannot be read, or the version's frames are marked with another key.
    """
    folder = pathlib.Path(models_dir) / BANK / str(version)
    try:
        stored = read_description(models_dir, version)
        card = files.read_json(folder / cards.CARD_FILE)
        check_key(card, watermark_key)
        reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
        shapes = reader.get_variable_to_shape_map()

        def array(name):
            return reader.get_tensor(f"renderer/{name}/.ATTRIBUTES/VARIABLE_VALUE")

        count = sum(name.startswith("renderer/kernels/") for name in shapes)
        weights = [np.float32(array(f"kernels/{number}")) for number in range(count)]
        parts = ("photos", "photo_landmarks", "photo_pupils")
        names = (*parts, "photo_offsets", "counts", "psi_hats", "references", "slots")
        found = {name: array(name) for name in names}
        sources = len(found["photos"]) // len(found["counts"])
        members = {}
        for name, row in stored["members"].items():
            slot = int(found["slots"][row])
            first, own = slot * sources, int(found["counts"][slot])
            photos = [found[part][first : first + own] for part in parts]
            photos.append(found["photo_offsets"][slot, :own, :own])
            vector, reference = found["psi_hats"][slot], found["references"][slot]
            members[name] = GuidedMember(row, vector, Photos(*photos), reference)
        return GuidedBank(
            configs.from_json(json.dumps(stored["config"])),
            weights,
            stored["generator"],
            stored["dtype"],
            stored["bfloat16_compute"],
            stored["rows"],
            members,
            card["members"],
            watermark_key,
        )
    except (OSError, KeyError, ValueError, IndexError, tf.errors.OpError) as error:
        raise InputError(
            f"{folder}: not a bank of guided avatars that can be read ({error}); publish it again "
            "with scripts.export --bank, then repeat this"
        ) from error


def publish(models_dir: str | os.PathLike, bank: GuidedBank) -> pathlib.Path:
    """Publishes `bank` as the next version; the caller holds `store.lock(..., BANK)`."""
    config, sources = bank.config, bank.config.export.bank_sources
    facts = {"trained_weights_sha256": bank.generator}
    digest = files.arrays_sha256(bank.weights)
    card = cards.make_card(BANK, config, "bank", NOBODY, facts, digest)
    card |= {
        **cards.precision(bank.dtype, bank.bfloat16_compute),
        "photo_notice": cards.PHOTO_NOTICE,
    }
    members = list(bank.members.values())
    watermark = marking(config, card, bank.watermark_key, [member.row for member in members])
    card["watermark"] = watermark.card
    ids = watermark.card.get("rows", {})
    for own in bank.cards.values():
        own["watermark"] = {key: value for key, value in watermark.card.items() if key != "rows"}
        if ids:
            own["watermark"]["id"] = ids[str(own["row"])]
    # A member's entry holds only what differs from the bank's card; a client merges both.
    described = {
        name: {
            key: value
            for key, value in own.items()
            if card.get(key, ...) != value and key not in _OF_THE_BANK
        }
        for name, own in bank.cards.items()
    }
    text = cards.to_json({**card, "members": described})
    renderer = GuidedBankRenderer(
        config.model,
        bank.weights,
        bank.dtype,
        bank.bfloat16_compute,
        config.export.jpeg_quality,
        members,
        bank.rows,
        max([sources, *(len(member.photos) for member in members)]),
        config.export.size,
        watermark.embedder,
    )
    module = GuidedBankModule(renderer, text)
    description = {
        "schema": _SCHEMA,
        "config": json.loads(configs.to_json(config)),
        "generator": bank.generator,
        "dtype": bank.dtype,
        "bfloat16_compute": bank.bfloat16_compute,
        "rows": bank.rows,
        "members": {name: member.row for name, member in bank.members.items()},
    }

    def write(folder, _version):
        example = {"landmarks": NOBODY, "member": np.int32(0)}
        write_saved_model(module, folder, BANK, config, text, example)
        (folder / BANK_FILE).write_text(json.dumps(description, indent=1) + "\n")

    folder = pathlib.Path(models_dir) / BANK
    # First, so that no row is given twice.
    files.write_atomically(folder / _LAST_ROW_FILE, f"{bank.rows}\n".encode())
    return store.publish(models_dir, BANK, write)


def _to_one_size(members, most):
    """Brings the photos of all members to the size of the largest of them, at most `most` px."""
    size = min(most, max((member.photos.images.shape[1] for member in members), default=most))
    for member in members:
        images = resized_photos(member.photos.images, size)
        member.photos = dataclasses.replace(member.photos, images=images)


def read_description(models_dir: str | os.PathLike, version: int) -> dict:
    """The bank.json of a version; {} for a bank of direct avatars; InputError if damaged."""
    path = pathlib.Path(models_dir) / BANK / str(version) / BANK_FILE
    if not path.exists():
        return {}
    try:
        stored = files.read_json(path)
        if stored["schema"] != _SCHEMA:
            raise ValueError(f"schema {stored['schema']}, expected {_SCHEMA}")
        return stored
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            f"{path}: not what this version of the project writes ({error}); remove the version "
            f"{path.parent} and publish the bank again"
        ) from error


def _known_rows(models_dir):
    """{name: row} of all versions; a name has the same row in each."""
    found = {}
    for version in store.versions(models_dir, BANK):
        found |= read_description(models_dir, version).get("members", {})
    return found


def _last_row(models_dir):
    path = pathlib.Path(models_dir) / BANK / _LAST_ROW_FILE
    return int(path.read_text()) if path.exists() else 0
