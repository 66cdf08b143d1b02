"""The steps of a person's avatar: made from images and published, published again, deleted.

    make_person("demo", "ann", ["photos/ann"], "avatars")    # -> Made(version, avatar, ...)
    publish_again("avatars", "ann", dtype="float16")         # -> the new version's folder
    delete_person("avatars", "ann")                          # -> what was removed, in words

<models>/.work/<person>/ holds the crops (inputs.npz; refresh.py makes the avatar again from them),
the whole picture of the neutral face (ground.*), the finished avatar, the run's state and the
previews.
The same command continues after a kill at any moment; only a finished version is ever visible in
<models>/<person>/. Settings left at None come from the run's file, or from the avatar's where it is
published again (personalization/settings.py).
"""

import dataclasses
import os
import pathlib
import shutil

from tf_talkinghead.errors import InputError
from tf_talkinghead.export import bank, guided_bank_removal, store
from tf_talkinghead.export.config_file import CONFIG_FILE, remove_config_entry
from tf_talkinghead.export.saved_model import export_person
from tf_talkinghead.faces.geometry import neutral_frame
from tf_talkinghead.faces.pupils import find_pupils
from tf_talkinghead.personalization.avatar import Avatar, load_avatar, save_avatar
from tf_talkinghead.personalization.ground import keep_ground
from tf_talkinghead.personalization.kept_crops import keep_crops
from tf_talkinghead.personalization.personalize import personalize
from tf_talkinghead.personalization.photos import LARGEST, resized_photos
from tf_talkinghead.personalization.preview import write_preview
from tf_talkinghead.personalization.reference_images import person_images
from tf_talkinghead.personalization.settings import resolve
from tf_talkinghead.training.content_loss import check_weight_files
from tf_talkinghead.weights.store import Trained, load_trained


@dataclasses.dataclass
class Made:
    """The result of `make_person`."""

    version: pathlib.Path  # the published version's folder
    avatar: Avatar
    work: pathlib.Path  # the work folder
    previews: list[pathlib.Path]
    in_bank: bool  # whether the person joined the bank of direct avatars
    pruned: list[int]  # versions that `keep_versions` removed


def make_person(
    weights: str,
    person: str,
    images: list[str],
    models: str | os.PathLike,
    shots: int | None = None,
    mode: str | None = None,
    steps: int | None = None,
    keep_versions: int | None = None,
    work_dir: str | os.PathLike | None = None,
    dtype: str | None = None,
    force: bool = False,
    progress: bool = True,
    vgg19_weights: str | None = None,
    vggface_weights: str | None = None,
    consent: dict | None = None,
    watermark: bool | None = None,
    watermark_key: bytes | None = None,
) -> Made:
    """Personalises `weights` with `images`; publishes the avatar as the next version of `person`.

    Args:
      weights: "guided", "demo", a run directory or one of its snapshots.
      person: the folder's and the served model's name.
      images: photos, folders and videos of one person.
      models: folder of all models.
      shots: number of images to use; None: the run's, or all where there are fewer.
      mode, steps, dtype: None: the run's. `steps` are generator updates, `dtype` that of stored
        weights.
      keep_versions: remove all but the newest so many versions afterwards; None keeps all.
      work_dir: folder for people's work folders instead of <models>/.work.
      force: take the largest of several faces, and let the images be of different people.
      progress: whether to show a progress bar.
      vgg19_weights, vggface_weights: files of the content loss where the run's paths do not exist
        here.
      consent: of the person shown, as `provenance.stated_consent` makes it; None: none stated.
      watermark: whether frames are marked; None: the run's.
      watermark_key: None is the public one.

    Raises:
      InputError: a flag, file or image cannot be used; this is found out before anything slow.
    """
    store.check_name(person)
    check_keep_versions(keep_versions)
    trained = load_for_person(
        weights,
        shots=shots,
        mode=mode,
        steps=steps,
        dtype=dtype,
        watermark=watermark,
        vgg19_weights=vgg19_weights,
        vggface_weights=vggface_weights,
    )
    config, work = trained.config, _work(models, person, work_dir)
    with store.lock(models, person):
        store.note_place(models, person, work)
        found = person_images(
            images,
            shots,
            config.model.image_size,
            trained.preparation,
            force=force,
            default_shots=config.personalize.shots,
            largest=LARGEST if config.model.generator == "guided" else None,
        )
        keep_crops(found, work)
        crop = keep_ground(found, neutral_frame(found.landmarks), work)
        kept = {"crop": crop, "consent": consent}
        return make_from(
            trained, found, models, person, work, keep_versions, progress, kept, watermark_key
        )


def load_for_person(weights: str, **settings) -> Trained:
    """Loads `weights` and puts the settings of `personalization.settings.resolve` in their config.

    Raises:
      InputError: an impossible setting, or a missing file of the content loss.
    """
    trained = load_trained(weights)
    config = resolve(trained.config, **settings)
    if config.personalize.mode != "feed_forward":
        check_weight_files(config.losses)
    return dataclasses.replace(trained, config=config)


def make_from(
    trained,
    found,
    models,
    person,
    work,
    keep_versions,
    progress,
    facts: dict,
    watermark_key: bytes | None = None,
) -> Made:
    """Makes and publishes an avatar from a person's images (`PersonImages`).

    The caller holds the person's lock and has written the crops and the ground to `work`; `facts`
    are the fields of `Facts` that it knows: `crop`, of the neutral frame in the ground, and
    `consent`.
    """
    config = trained.config
    avatar = personalize(
        trained,
        found.images,
        found.landmarks,
        work_dir=work,
        progress=progress,
        inputs_sha256=found.sha256,
        pupils=find_pupils(found.images, found.landmarks),
    )
    avatar.facts = dataclasses.replace(avatar.facts, **facts)
    save_avatar(avatar, work)
    shown = resized_photos(found.images, config.model.image_size)
    previews = write_preview(avatar, shown, found.landmarks, work)
    in_bank = avatar.photos is None and bank.join(models, person, avatar)
    # A former vector of this person, of other weights or another mode, would be another avatar.
    if not in_bank:
        bank.leave(models, person)
    version = export_person(
        avatar, models, person, watermark_key=watermark_key, **precision(config)
    )
    pruned = store.prune(models, person, keep_versions) if keep_versions else []
    return Made(version, avatar, work, previews, in_bank, pruned)


def publish_again(
    models,
    person: str,
    work_dir=None,
    dtype=None,
    bfloat16_compute=None,
    size=None,
    keep_versions=None,
    watermark: bool | None = None,
    watermark_key: bytes | None = None,
) -> pathlib.Path:
    """Publishes the last avatar of `person` as a new version; returns the version's folder.

    Args:
      models: folder of all models.
      person: name of the avatar.
      work_dir: the one given to `make_person`; None: the last one that the person had.
      dtype, bfloat16_compute: of stored weights and of convolutions; None: as the avatar was made.
      size: pixels of the frames, the weights' own or for guided avatars twice as many; None: as the
        avatar was made.
      keep_versions: remove all but the newest so many versions afterwards; None keeps all.
      watermark: whether frames are marked; None: as the avatar was made.
      watermark_key: None is the public one.

    Raises:
      InputError: there is no avatar of that name, or a flag has an impossible value.
    """
    store.check_name(person)
    check_keep_versions(keep_versions)
    avatar = load_avatar(place_of(models, person, work_dir))
    config = resolve(
        avatar.config,
        dtype=dtype,
        bfloat16_compute=bfloat16_compute,
        size=size,
        watermark=watermark,
    )
    avatar = dataclasses.replace(avatar, config=config)
    return export_person(
        avatar,
        models,
        person,
        keep_versions=keep_versions,
        watermark_key=watermark_key,
        **precision(config),
    )


def delete_person(
    models: str | os.PathLike, person: str, follow=None, watermark_key: bytes | None = None
) -> list[str]:
    """Removes `person` everywhere: versions, work folders, the bank's versions, models.config.

    The person's own versions disappear in one rename, so no server finds half of them.

    Args:
      models: folder of all models.
      person: name of the avatar.
      follow: moves the servers to a version of the bank without the person, as in
        `guided_bank_removal.remove`.
      watermark_key: the key of the bank's frames; None is the public one.

    Returns:
      What was removed, in words.

    Raises:
      InputError: there is no such models folder, nothing of `person` in it, or the bank is marked
        with another key.
    """
    store.check_name(person)
    if not pathlib.Path(models).is_dir():
        raise InputError(f"--models={models}: no such folder")
    with store.lock(models, person):
        guided_bank_removal.check_removable(models, person, watermark_key)
        removed = []
        # First, while the record of the work folders still exists.
        for place in store.places(models, person):
            if place != store.work_dir(models, person) and place.exists():
                shutil.rmtree(place)
                removed.append(f"the work folder {place}")
        removed += store.delete_folders(models, person)
        if bank.leave(models, person):
            removed.append("the vector and card in the bank")
        held = guided_bank_removal.remove(models, person, follow, watermark_key)
        if held:
            removed.append(f"versions {', '.join(map(str, held))} of the bank")
        if remove_config_entry(models, person):
            removed.append(f"the entry in {CONFIG_FILE}")
    (pathlib.Path(models) / ".locks" / person).unlink(missing_ok=True)
    if not removed:
        there = ", ".join(store.people(models)) or "nobody"
        raise InputError(f"{person}: nobody of that name in {models} (there: {there})")
    return removed


def _work(models, person, work_dir):
    """The person's work folder: <work_dir>/<person> where one is given."""
    return (
        pathlib.Path(work_dir).absolute() / person if work_dir else store.work_dir(models, person)
    )


def place_of(models, person, work_dir):
    """The work folder that holds the person's avatar."""
    return _work(models, person, work_dir) if work_dir else store.places(models, person)[-1]


def precision(config):
    """Number formats of an export, as named arguments."""
    return {
        "dtype": config.export.dtype,
        "bfloat16_compute": config.export.bfloat16_compute,
    }


def check_keep_versions(keep_versions):
    """Raises InputError unless `keep_versions` is None or at least 1."""
    if keep_versions is not None and keep_versions < 1:
        raise InputError(f"--keep_versions={keep_versions}: expected 1 or more")
