"""Ground of an avatar: the whole picture from which its neutral face was cropped.

`drive --paste_back` puts the rendered head back into it. A copy lies in the work folder: the photo
itself, byte for byte, or the frame of a video as a PNG. The card holds the place of the crop and
the copy's SHA-256, but no part of the picture.
"""

import io
import pathlib

from PIL import Image

from tf_talkinghead import files
from tf_talkinghead.data.photos import PHOTO_SUFFIXES
from tf_talkinghead.data.video import decode, probe
from tf_talkinghead.personalization.reference_images import PersonImages

NAME = "ground"  # of the copy in the work folder, with the photo's suffix


def keep_ground(found: PersonImages, index: int, work: pathlib.Path) -> dict:
    """Copies the picture of the neutral image into the work folder.

    Args:
      found: the person's images.
      index: which of them has the avatar's reference landmarks.
      work: the work folder.

    Returns:
      The card's `crop`: x, y (top left corner) and side in pixels of the upright picture, rotation
      in degrees (0: crops are upright), width and height of the picture, SHA-256 of the copy.
    """
    origin = found.origins[index]
    picture = next(iter(decode(probe(origin.path), [origin.frame])))
    suffix = origin.path.suffix.lower()
    if suffix in PHOTO_SUFFIXES:
        content = origin.path.read_bytes()
    else:
        buffer, suffix = io.BytesIO(), ".png"
        Image.fromarray(picture).save(buffer, "PNG")
        content = buffer.getvalue()
    path = work / f"{NAME}{suffix}"
    files.write_atomically(path, content)
    for former in work.glob(f"{NAME}.*"):
        if former != path:
            former.unlink()
    return {
        "x": origin.box.x,
        "y": origin.box.y,
        "side": origin.box.side,
        "rotation": 0,
        "width": picture.shape[1],
        "height": picture.shape[0],
        "sha256": files.sha256(content),
    }
