"""A person from beginning to end: images in, a published avatar out; and gone again.

    make_person("demo", "ann", ["photos/ann"], "avatars")    # -> Made(version, avatar, ...)
    delete_person("avatars", "ann")                          # -> what was removed, in words

In <models>/.work/<person>/ lie the crops (inputs.npz), the finished avatar, the run's state and the previews. A process
killed at any moment is taken up by the same command; only a finished version is ever seen in <models>/<person>/.
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
from tf_talkinghead.files import arrays_sha256
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
    """Personalise `weights` with `images` and publish the avatar as the next version of `person` in `models`.

    shots: how many images, by default min(8, what there is). steps: generator updates, by default the recipe's.
    Everything that can be refused is refused before anything slow.
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
        if not in_bank:  # a former vector of this person, on other weights or of another mode, is not this avatar
            bank.leave(models, person)
        version = export_person(avatar, models, person, dtype=dtype)
        pruned = store.prune(models, person, keep_versions) if keep_versions else []
    return Made(version, avatar, work, previews, in_bank, pruned)


def publish_again(
    models, person: str, work_dir=None, dtype="float32", bfloat16_compute=False, keep_versions=None
) -> pathlib.Path:
    """Publish what personalisation left of `person` as a new version; its folder."""
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


def publish_bank(
    weights: str, models, people=(), dtype="float32", bfloat16_compute=False, keep_versions=None
):
    """Publish the shared generator of `weights` as the bank; (its folder, the names of the people in it).

    people: whom to put in; none named: everyone made with these weights by `feed_forward` or `vector`.
    """
    check_dtype(dtype)
    _check("vector", None, keep_versions)
    trained = load_trained(weights)
    folded = trained.generator.folded("float32").get_weights()
    avatars = bank.bank_people(models, list(people), arrays_sha256(folded))
    reference = next((a.reference_landmarks for a in avatars.values()), _plain_face())
    version = bank.export_bank(
        trained.config, folded, models, avatars, reference, dtype, bfloat16_compute
    )
    if keep_versions:
        store.prune(models, store.BANK, keep_versions)
    return version, sorted(avatars)


def delete_person(models: str | os.PathLike, person: str) -> list[str]:
    """Remove `person` everywhere; returns what was removed, in words. InputError if there was nothing.

    The models' versions go in one rename, so no server finds half of them.
    """
    store.check_name(person)
    if not pathlib.Path(models).is_dir():
        raise InputError(f"--models={models}: no such folder")
    with store.lock(models, person):
        removed = []
        for place in store.places(
            models, person
        ):  # first, while the note of where they are still stands
            if place != store.work_dir(models, person) and place.exists():
                shutil.rmtree(place)
                removed.append(f"the work folder {place}")
        removed += store.delete_folders(models, person)
        if bank.leave(models, person):
            removed.append("the bank's vector and card")
        if store.remove_config_entry(models, person):
            removed.append(f"the entry in {store.CONFIG_FILE}")
    (pathlib.Path(models) / ".locks" / person).unlink(missing_ok=True)
    if not removed:
        raise InputError(
            f"{person}: nobody of that name in {models} (there: {', '.join(store.people(models)) or 'nobody'})"
        )
    return removed


def _work(models, person, work_dir):
    """The person's work folder: under `work_dir` where one is given, and then in a folder of the person's own."""
    return (
        pathlib.Path(work_dir).absolute() / person if work_dir else store.work_dir(models, person)
    )


def _plain_face():
    """Landmarks [68, 2] for a bank of nobody: the middle of the picture, enough for a bad row to draw nothing odd."""
    return np.full((68, 2), 0.5, np.float32)


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
