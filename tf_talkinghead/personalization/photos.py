"""The photos that a guided avatar carries: which of the T images, and their pixels, landmarks and
pupils.

Of photos that hardly differ the sharpest is enough. More would not only need room: between several
photos that are equally near, a frame has no fine detail (`source_choice.choose`).

Photos are kept at their own size S', up to LARGEST: a frame of 512 px needs no more training than
one of 256 px, only larger photos.
"""

import dataclasses

import cv2
import numpy as np

from tf_talkinghead.faces.motion import eye_opening, mouth_opening
from tf_talkinghead.models import source_choice
from tf_talkinghead.personalization.correspondence import correspondence
from tf_talkinghead.personalization.frame_selection import select_frames, sharpness
from tf_talkinghead.personalization.photo_faults import fit_photos

LARGEST = 512  # pixels of a kept crop
# Photos hardly differ below this `source_choice.distances`, if eyes and mouth are open alike.
_SAME_POSE, _SAME_OPENING = 0.03, 0.05


def resized_photos(images, size: int) -> np.ndarray:
    """uint8 [N, S', S', 3] as uint8 [N, size, size, 3]: averaged over areas, or interpolated."""
    if images.shape[1] == size:
        return images
    how = cv2.INTER_AREA if images.shape[1] > size else cv2.INTER_CUBIC
    return np.stack([cv2.resize(image, (size, size), interpolation=how) for image in images])


@dataclasses.dataclass(frozen=True)
class Photos:
    """N photos of one person, in the same square crop as everything else."""

    images: np.ndarray  # uint8 [N, S', S', 3]
    landmarks: np.ndarray  # float32 [N, 68, 2], fractions
    pupils: np.ndarray  # float32 [N, 2, 2], fractions, right eye first; NaN where unknown

    # float16 [N, N, g, g, 2] as from `correspondence`, which finds them if None is given.
    offsets: np.ndarray | None = None

    def __post_init__(self):
        if self.offsets is None:
            object.__setattr__(self, "offsets", correspondence(self.images, self.landmarks))

    def chosen(self, rows) -> "Photos":
        """The photos `rows`, in that order."""
        offsets = self.offsets[np.ix_(rows, rows)]
        return Photos(self.images[rows], self.landmarks[rows], self.pupils[rows], offsets)

    def __len__(self) -> int:
        return len(self.images)


def choose_photos(images, landmarks, most: int, pupils=None) -> Photos:
    """The photos that an avatar carries: whole, sharp, uncovered faces that differ.

    Args:
      images: uint8 [T, S', S', 3].
      landmarks: float32 [T, 68, 2], fractions.
      most: the largest number of photos.
      pupils: float32 [T, 2, 2], fractions, NaN where unknown; None: all unknown.
    """
    rows = chosen_rows(images, landmarks, most)
    if pupils is None:
        pupils = np.full((len(images), 2, 2), np.nan, np.float32)
    return Photos(images[rows], np.float32(landmarks[rows]), np.float32(pupils[rows]))


def chosen_rows(images, landmarks, most: int) -> np.ndarray:
    """Indices of the photos that `choose_photos` chooses, ascending."""
    fit = np.flatnonzero(fit_photos(images, landmarks))
    fit = fit[_different(images[fit], np.float32(landmarks[fit]))]
    return fit[select_frames(images[fit], landmarks[fit], most)]


def _different(images, landmarks):
    """Indices, ascending, of images that differ in pose or expression, sharper ones first."""
    apart = source_choice.distances(landmarks, landmarks).numpy() / _SAME_POSE
    open_ = np.stack([eye_opening(landmarks), mouth_opening(landmarks)], -1) / _SAME_OPENING
    apart = np.maximum(apart, np.abs(open_[:, None] - open_[None]).max(-1))
    kept = []
    for index in np.argsort(-sharpness(images, landmarks), kind="stable"):
        if not kept or apart[index, kept].min() > 1.0:
            kept.append(index)
    return np.sort(kept)
