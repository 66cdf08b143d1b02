"""Avatars made again, with newer weights, from the crops kept in their work folders.

refresh_person("guided", "ann", "avatars")    # -> Made; None: made with these weights already
"""

import os
import pathlib

from tf_talkinghead.errors import InputError
from tf_talkinghead.export import store
from tf_talkinghead.export.workflow import (
    Made,
    check_keep_versions,
    load_for_person,
    make_from,
    place_of,
)
from tf_talkinghead.personalization.avatar import FACTS_FILE, generator_sha256, load_avatar
from tf_talkinghead.personalization.kept_crops import kept_crops
from tf_talkinghead.personalization.photos import resized_photos


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
    """Makes the avatar of `person` again from the kept crops, with other (newer) weights.

    Args:
      weights, models, keep_versions, progress, watermark_key: as for `make_person`.
      person: name of the avatar.
      work_dir: the one given to `make_person`; None: the last one that the person had.
      settings: mode, steps, dtype, watermark, vgg19_weights and vggface_weights, as for
        `make_person`.

    Returns:
      The new avatar and version; None if the avatar was made with these weights already.

    Raises:
      InputError: there is no avatar of that name, its crops are gone or too small.
    """
    store.check_name(person)
    check_keep_versions(keep_versions)
    trained = load_for_person(weights, **settings)
    config = trained.config
    with store.lock(models, person):
        work = place_of(models, person, work_dir)
        before = load_avatar(work)
        if generator_sha256(before) == trained.provenance.get("sha256"):
            return None
        found = kept_crops(work, before.facts.inputs_sha256)
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
