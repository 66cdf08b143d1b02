"""Reading of photos: any picture that Pillow reads, as upright uint8 RGB.

Greyscale, 16-bit and transparent pictures and EXIF rotation are handled here and nowhere else.
"""

import numpy as np
from PIL import Image, ImageOps

from tf_talkinghead.errors import InputError

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
MAX_PIXELS = 64_000_000  # of one frame: 8K is 33 million; more is a mistake or an attack


def probe_photo(path) -> None:
    """Checks that a file is a photo of a usable size, without decoding it.

    Raises:
      InputError: the size is not usable. Pillow's own errors: the file is not a picture.
    """
    with Image.open(path) as image:
        check_size(path, *image.size)


def read_photo(path) -> np.ndarray:
    """The picture as uint8 RGB [H, W, 3], transparent parts white. Raises as `probe_photo`."""
    with Image.open(path) as image:
        check_size(path, *image.size)
        # 16 bits and more: Pillow would clip, not scale.
        if image.mode.startswith("I") or image.mode == "F":
            deep = np.asarray(image, np.float64)
            image = Image.fromarray(
                np.clip(deep / 257 if deep.max() > 255 else deep, 0, 255).astype(np.uint8)
            )
        image = ImageOps.exif_transpose(image)
        if "A" in image.getbands() or "transparency" in image.info:
            image = Image.alpha_composite(
                Image.new("RGBA", image.size, "white"), image.convert("RGBA")
            )
        return np.array(image.convert("RGB"))


def check_size(path, width: int, height: int) -> None:
    """Raises InputError for a picture without pixels, or with more than MAX_PIXELS."""
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{path}: enormous ({width} x {height} pixels; "
            f"at most {MAX_PIXELS // 1_000_000} million)"
        )
    if width < 1 or height < 1:
        raise InputError(f"{path}: the picture has no width or height")
