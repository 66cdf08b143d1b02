"""The crops that an avatar was made from, kept in its work folder: `inputs.npz`.

keep_crops(found, work)                # PersonImages
kept_crops(work, inputs_sha256)        # -> PersonImages, to make the avatar again
"""

import io
import pathlib

import numpy as np

from tf_talkinghead.errors import InputError
from tf_talkinghead.files import ArrayFile, write_atomically
from tf_talkinghead.personalization.avatar import UNREADABLE
from tf_talkinghead.personalization.reference_images import PersonImages

_FILE = "inputs.npz"


def keep_crops(found: PersonImages, work: pathlib.Path) -> None:
    """Writes the crops, their landmarks and the names of their files, atomically."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, images=found.images, landmarks=found.landmarks, names=np.array(found.names)
    )
    write_atomically(work / _FILE, buffer.getvalue())


def kept_crops(work: pathlib.Path, sha256: list[str]) -> PersonImages:
    """The crops that `keep_crops` wrote.

    Args:
      work: the work folder.
      sha256: digests of the files that the crops came from, put into the result.

    Raises:
      InputError: the crops are missing or damaged.
    """
    try:
        with ArrayFile(work / _FILE) as stored:
            names = [str(name) for name in stored["names"]]
            return PersonImages(stored["images"], stored["landmarks"], names, sha256)
    except UNREADABLE as error:
        raise InputError(
            f"{work / _FILE}: the kept crops cannot be read ({error}); personalise again "
            "with the photos"
        ) from error
