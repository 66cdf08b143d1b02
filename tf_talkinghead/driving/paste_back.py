"""Paste-back: puts the rendered head back into the whole photo or painting, at its resolution.

    ground = Ground(read_photo("photo.jpg"), card["crop"])
    picture = ground.pasted(frame)    # uint8 [H, W, 3], the photo's size

The rendered square is enlarged to the crop's size and blended in with a feathered mask: wide at the
bottom, so that neck and shoulders stay the photo's, and 0 along the square's edge. Where the square
extends beyond the picture, that side is not feathered. The difference of frame and photo along the
square's edge (a tint, a background that moved) is subtracted, fading out towards the face.
"""

import pathlib
import warnings

import cv2
import numpy as np

from tf_talkinghead.data.photos import PHOTO_SUFFIXES, read_photo
from tf_talkinghead.errors import InputError
from tf_talkinghead.files import sha256

# Widths of the blend, shares of the square's side.
_TOP, _SIDES, _BOTTOM = 0.05, 0.12, 0.22  # many heads reach up to the square's top
_GRID = 32  # cells of the colour correction across the square
_FADE = 0.3  # of the side: how far from the edge the correction reaches
# Grey levels by which a tint may differ; a larger difference is another object that moved there.
_MOST = 40.0


class Ground:
    """The whole picture an avatar was cut from, with the place of its square."""

    def __init__(self, picture: np.ndarray, crop: dict):
        """Prepares the blend of one picture.

        Args:
          picture: uint8 [H, W, 3], upright.
          crop: the card's `crop`.

        Raises:
          InputError: the picture has another size than the one that was cropped, or the crop is
            rotated.
        """
        height, width = picture.shape[:2]
        if (width, height) != (crop["width"], crop["height"]):
            raise InputError(
                f"--ground: expected a picture of {crop['width']} x {crop['height']} pixels, as "
                f"the avatar was made from, got {width} x {height}"
            )
        if crop["rotation"]:
            raise InputError(
                "expected an upright crop in the avatar's card, got one turned by "
                f"{crop['rotation']} degrees; personalise again"
            )
        self.picture = picture
        x, y, self.side = crop["x"], crop["y"], crop["side"]
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + self.side, width), min(y + self.side, height)
        self._place = slice(top, bottom), slice(left, right)
        self._part = slice(top - y, bottom - y), slice(left - x, right - x)  # of the square
        cut = (y < 0, y + self.side > height, x < 0, x + self.side > width)
        self.mask = feathered(self.side, cut)[self._part][..., None]  # float32, 0 to 1
        under = cv2.copyMakeBorder(
            picture[self._place],
            *(self._part[0].start, self.side - self._part[0].stop),
            *(self._part[1].start, self.side - self._part[1].stop),
            cv2.BORDER_REPLICATE,
        )
        self._small = _shrunk(under)
        self._weights = _edge_weights()

    def pasted(self, frame: np.ndarray) -> np.ndarray:
        """The picture with the rendered frame uint8 [S, S, 3] in its place, uint8 [H, W, 3]."""
        how = cv2.INTER_AREA if frame.shape[0] > self.side else cv2.INTER_CUBIC
        square = cv2.resize(frame, (self.side, self.side), interpolation=how)[self._part]
        correction = cv2.resize(
            self._correction(frame), (self.side, self.side), interpolation=cv2.INTER_LINEAR
        )[self._part]
        result = self.picture.copy()
        under = result[self._place].astype(np.float32)
        blend = under + self.mask * (square + correction - under)
        result[self._place] = np.clip(blend + 0.5, 0, 255).astype(np.uint8)
        return result

    def _correction(self, frame):
        """What is added to the square, float32 [_GRID, _GRID, 3]: the edge's difference, fading."""
        off = self._small - _shrunk(frame)
        off[np.abs(off).max(axis=-1) > _MOST] = 0.0
        edge = cv2.GaussianBlur(off, (0, 0), 1.5)[_ON_EDGE]
        return np.einsum("yxe,ec->yxc", self._weights, edge)

    def seam_sharpness(self, picture: np.ndarray) -> float:
        """Mean gradient of `picture` in the blended band over the original picture's there."""
        band = ((self.mask > 0.02) & (self.mask < 0.98))[..., 0]
        return float(
            _gradient(picture[self._place])[band].mean()
            / max(_gradient(self.picture[self._place])[band].mean(), 1e-6)
        )


def open_ground(path, crop: dict) -> Ground:
    """The ground of a picture file; a UserWarning if it is not the file of the card's SHA-256.

    Raises:
      InputError: there is no such picture, or it has another size than the card says.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(f"--ground={path}: no such file")
    if path.suffix.lower() not in PHOTO_SUFFIXES:
        raise InputError(f"--ground={path}: expected a picture ({', '.join(PHOTO_SUFFIXES)})")
    if sha256(path.read_bytes()) != crop["sha256"]:
        warnings.warn(
            f"--ground={path}: not the file that the avatar was made from; the head may not fit",
            UserWarning,
            stacklevel=2,
        )
    try:
        picture = read_photo(path)
    except (OSError, ValueError) as error:
        raise InputError(f"--ground={path}: cannot be read ({error})") from error
    return Ground(picture, crop)


def kept_ground(folders) -> pathlib.Path | None:
    """The copy of the picture in the last of the work folders that has one; None without one."""
    for folder in reversed(list(folders)):
        found = sorted(pathlib.Path(folder).glob("ground.*"))
        if found:
            return found[0]
    return None


def feathered(side: int, cut=(False,) * 4) -> np.ndarray:
    """The blend's mask, float32 [side, side]: 1 inside, 0 along the square's edge.

    cut: whether the picture ends before the square's top, bottom, left and right edge, which is
      then not feathered.
    """
    place = (np.arange(side) + 0.5) / side

    def ramp(distance, width, off):
        t = np.ones_like(distance) if off else np.clip(distance / width, 0.0, 1.0)
        return t * t * (3.0 - 2.0 * t)

    down = ramp(place, _TOP, cut[0]) * ramp(1.0 - place, _BOTTOM, cut[1])
    across = ramp(place, _SIDES, cut[2]) * ramp(1.0 - place, _SIDES, cut[3])
    return np.float32(np.outer(down, across))


def _shrunk(picture):
    """Area means, float32 [_GRID, _GRID, 3]."""
    return cv2.resize(np.float32(picture), (_GRID, _GRID), interpolation=cv2.INTER_AREA)


_ticks = np.arange(_GRID)
_ON_EDGE = np.minimum.outer(np.minimum(_ticks, _ticks[::-1]), np.minimum(_ticks, _ticks[::-1])) == 0


def _edge_weights():
    """Weights [_GRID, _GRID, E] of the edge's cells in each cell, fading to 0 towards the face."""
    y, x = np.nonzero(_ON_EDGE)
    rows, columns = np.mgrid[:_GRID, :_GRID]
    squared = (rows[..., None] - y) ** 2 + (columns[..., None] - x) ** 2
    weights = 1.0 / (squared + 0.25) ** 1.5
    weights /= weights.sum(axis=-1, keepdims=True)
    reach = np.sqrt(squared.min(axis=-1)) / _GRID
    fade = np.clip(1.0 - reach / _FADE, 0.0, 1.0)
    return np.float32(weights * (fade * fade * (3.0 - 2.0 * fade))[..., None])


def _gradient(picture):
    """Length of the gradient of the grey picture, float32 [H, W]."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return cv2.magnitude(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
