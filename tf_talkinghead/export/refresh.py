"""Avatars made anew, with newer weights, from the crops kept in their work folders.

refresh_person("guided", "ann", "avatars")    # -> Made, or None: made with these weights already
"""

import dataclasses
import os
import pathlib

import numpy as np

from tf_talkinghead.errors import InputError
from tf_talkinghead.export import store
from tf_talkinghead.export.workflow import Made, check_keep_versions, make_from, place_of
from tf_talkinghead.personalization.avatar import (
    FACTS_FILE,
    UNREADABLE,
    generator_sha256,
    load_avatar,
)
from tf_talkinghead.personalization.photos import resized_photos
from tf_talkinghead.personalization.reference_images import PersonImages
from tf_talkinghead.personalization.settings import resolve
from tf_talkinghead.training.content_loss import check_weight_files
from tf_talkinghead.weights.store import load_trained


def refresh_person(
    weights: str,
    person: str,
    models: str | os.PathLike,
    keep_versions: int | None = None,
    work_dir: str | os.PathLike | None = None,
    progress: bool = True,
    watermark_key: bytes | None = None,
    **settings,
) -> Made | None:
    """Makes the avatar of `person` anew from the kept crops, with other (newer) weights.

    Args:
      weights, models, keep_versions, progress, watermark_key: as for `make_person`.
      person: whose avatar.
      work_dir: the one the person was personalised with; None: where they last were.
      settings: mode, steps, dtype, watermark, vgg19_weights and vggface_weights, as for
        `make_person`.

    Returns:
      What was made; None where the avatar was made with these weights already.

    Raises:
      InputError: there is no avatar of that name, its crops are gone or too small.
    """
    store.check_name(person)
    check_keep_versions(keep_versions)
    trained = load_trained(weights)
    config = resolve(trained.config, **settings)
    if config.personalize.mode != "feed_forward":
        check_weight_files(config.losses)
    trained = dataclasses.replace(trained, config=config)
    with store.lock(models, person):
        work = place_of(models, person, work_dir)
        before = load_avatar(work)
        if generator_sha256(before) == trained.provenance.get("sha256"):
            return None
        found = _kept_inputs(work, before.facts.inputs_sha256)
        size = config.model.image_size
        if config.model.generator == "direct":
            if found.images.shape[1] < size:
                raise InputError(
                    f"{person}: the kept crops have {found.images.shape[1]} px, these weights need "
                    f"{size}; personalise again with the photos: --person={person} --images=..."
                )
            found.images = resized_photos(found.images, size)
        kept = {"crop": before.facts.crop, "consent": before.facts.consent}
        return make_from(
            trained, found, models, person, work, keep_versions, progress, kept, watermark_key
        )


def kept_people(models: str | os.PathLike) -> list[str]:
    """The names of those with a finished avatar in <models>/.work, sorted."""
    places = (pathlib.Path(models) / ".work").glob(f"*/{FACTS_FILE}")
    return sorted(path.parent.name for path in places)


def _kept_inputs(work, sha256):
    """The crops that `_keep_inputs` wrote; InputError where they are gone."""
    try:
        with np.load(work / "inputs.npz") as stored:
            names = [str(name) for name in stored["names"]]
            return PersonImages(stored["images"], stored["landmarks"], names, sha256)
    except UNREADABLE as error:
        raise InputError(
            f"{work / 'inputs.npz'}: the kept crops cannot be read ({error}); personalise again "
            "with the photos"
        ) from error
