"""Workflows on one person or the bank: images to a published avatar, publishing again, deletion.

    make_person("demo", "ann", ["photos/ann"], "avatars")    # -> Made(version, avatar, ...)
    delete_person("avatars", "ann")                          # -> what was removed, in words

<models>/.work/<person>/ holds the crops (inputs.npz), the finished avatar, the training state and
the previews. After a kill at any moment the same command continues; only finished versions appear
in <models>/<person>/.
"""

import dataclasses
import io
import os
import pathlib
import shutil

import numpy as np

from tf_talkinghead import files
from tf_talkinghead.config import ConfigError
from tf_talkinghead.errors import InputError
from tf_talkinghead.export import bank, store
from tf_talkinghead.export.saved_model import check_dtype, export_person
from tf_talkinghead.personalization.avatar import Avatar, load_avatar, save_avatar
from tf_talkinghead.personalization.personalize import MODES, personalize, recipe
from tf_talkinghead.personalization.preview import write_preview
from tf_talkinghead.personalization.reference_images import person_images
from tf_talkinghead.weights.store import load_trained


@dataclasses.dataclass
class Made:
    """What `make_person` did."""

    version: pathlib.Path
    avatar: Avatar
    work: pathlib.Path
    previews: list[pathlib.Path]
    in_bank: bool
    pruned: list[int]


def make_person(
    weights: str,
    person: str,
    images: list[str],
    models: str | os.PathLike,
    shots: int | None = None,
    mode: str = "fine_tune",
    steps: int | None = None,
    keep_versions: int | None = None,
    work_dir: str | os.PathLike | None = None,
    dtype: str = "float32",
    force: bool = False,
    progress: bool = True,
) -> Made:
    """Personalises `weights` with `images` and publishes the next version of `person` in `models`.

    shots: how many images, by default min(8, what there is). steps: generator updates, by default
    the recipe's. Everything that can be refused is refused before anything slow.
    """
    store.check_name(person)
    check_dtype(dtype)
    _check(mode, steps, keep_versions)
    work = _work(models, person, work_dir)
    with store.lock(models, person):
        store.note_place(models, person, work)
        trained = load_trained(weights)
        config = dataclasses.replace(recipe(trained.config), mode=mode)
        if steps is not None:
            config = dataclasses.replace(config, steps=steps, single_steps=steps)
        found = person_images(
            images, shots, trained.config.model.image_size, trained.preparation, force=force
        )
        _keep_inputs(found, work)
        avatar = personalize(
            trained,
            found.images,
            found.landmarks,
            config,
            work,
            progress,
            {"inputs_sha256": found.sha256},
        )
        save_avatar(avatar, work)
        previews = write_preview(avatar, found.images, found.landmarks, work)
        in_bank = bank.join(models, person, avatar)
        if not in_bank:
            # A former vector of this person, on other weights or of another mode, is not this
            # avatar.
            bank.leave(models, person)
        version = export_person(avatar, models, person, dtype=dtype)
        pruned = store.prune(models, person, keep_versions) if keep_versions else []
    return Made(version, avatar, work, previews, in_bank, pruned)


def publish_again(
    models, person: str, work_dir=None, dtype="float32", bfloat16_compute=False, keep_versions=None
) -> pathlib.Path:
    """Publishes what personalisation left of `person` as a new version; returns its folder."""
    store.check_name(person)
    check_dtype(dtype)
    _check("fine_tune", None, keep_versions)
    avatar = load_avatar(
        _work(models, person, work_dir) if work_dir else store.places(models, person)[-1]
    )
    return export_person(
        avatar,
        models,
        person,
        dtype=dtype,
        bfloat16_compute=bfloat16_compute,
        keep_versions=keep_versions,
    )


@dataclasses.dataclass
class PublishedBank:
    """What `publish_bank` published: the version's folder, its members, and who was left out."""

    version: pathlib.Path
    people: list[str]
    left_out: list[str]  # of a shared mode, but made with other weights


def publish_bank(
    weights: str,
    models: str | os.PathLike,
    people=(),
    dtype: str = "float32",
    bfloat16_compute: bool = False,
    keep_versions: int | None = None,
) -> PublishedBank:
    """Publishes the shared generator of `weights` as the next version of the bank.

    people: the members' names; none: everyone made with these weights by `feed_forward` or
    `vector`.
    """
    check_dtype(dtype)
    _check("vector", None, keep_versions)
    trained = load_trained(weights)
    generator = trained.provenance["sha256"]
    folded = trained.generator.folded("float32").get_weights()
    # Under the lock, so that somebody deleted meanwhile does not come back with this version.
    with store.lock(models, store.BANK, wait=True):
        avatars, left_out = bank.bank_people(models, list(people), generator)
        version = bank.export_bank(
            trained.config, folded, generator, models, avatars, dtype, bfloat16_compute
        )
        if keep_versions:
            store.prune(models, store.BANK, keep_versions)
    return PublishedBank(version, sorted(avatars), left_out)


def delete_person(models: str | os.PathLike, person: str) -> list[str]:
    """Removes `person` everywhere: versions, work folders, the bank's versions, models.config.

    The person's own versions go in one rename, so no server finds half of them. Returns what was
    removed, in words; InputError if there was nothing.
    """
    store.check_name(person)
    if not pathlib.Path(models).is_dir():
        raise InputError(f"--models={models}: no such folder")
    with store.lock(models, person):
        removed = []
        # First, while the record of the work folders still exists.
        for place in store.places(models, person):
            if place != store.work_dir(models, person) and place.exists():
                shutil.rmtree(place)
                removed.append(f"the work folder {place}")
        removed += store.delete_folders(models, person)
        if bank.leave(models, person):
            removed.append("the vector and card in the bank")
        if store.remove_config_entry(models, person):
            removed.append(f"the entry in {store.CONFIG_FILE}")
    (pathlib.Path(models) / ".locks" / person).unlink(missing_ok=True)
    if not removed:
        there = ", ".join(store.people(models)) or "nobody"
        raise InputError(f"{person}: nobody of that name in {models} (there: {there})")
    return removed


def _work(models, person, work_dir):
    """The person's work folder: the usual one, or `work_dir`/<person> where `work_dir` is given."""
    return (
        pathlib.Path(work_dir).absolute() / person if work_dir else store.work_dir(models, person)
    )


def _check(mode, steps, keep_versions):
    if mode not in MODES:
        raise ConfigError(f"--mode={mode}: expected one of {', '.join(MODES)}")
    if steps is not None and steps < 1:
        raise InputError(
            f"--steps={steps}: expected 1 or more; without training there is --mode=feed_forward"
        )
    if keep_versions is not None and keep_versions < 1:
        raise InputError(f"--keep_versions={keep_versions}: expected 1 or more")


def _keep_inputs(found, work):
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, images=found.images, landmarks=found.landmarks, names=np.array(found.names)
    )
    files.write_atomically(work / "inputs.npz", buffer.getvalue())
