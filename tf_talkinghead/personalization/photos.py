"""The photos that a guided avatar carries: which of the T images, and their pixels, landmarks and
pupils.

Photos are kept at their own size S', up to LARGEST: a frame of 512 px needs no more training than
one of 256 px, only larger photos.
"""

import dataclasses

import cv2
import numpy as np

from tf_talkinghead.personalization.frame_selection import select_frames
from tf_talkinghead.personalization.photo_faults import fit_photos

LARGEST = 512  # pixels of a kept crop


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

    def __len__(self) -> int:
        return len(self.images)


def choose_photos(images, landmarks, most: int, pupils=None) -> Photos:
    """The photos that an avatar carries: whole, sharp, uncovered faces that differ most.

    Args:
      images: uint8 [T, S', S', 3].
      landmarks: float32 [T, 68, 2], fractions.
      most: the largest number of photos.
      pupils: float32 [T, 2, 2], fractions, NaN where unknown; None: all unknown.
    """
    fit = np.flatnonzero(fit_photos(images, landmarks))
    chosen = fit[select_frames(images[fit], landmarks[fit], most)]
    if pupils is None:
        pupils = np.full((len(images), 2, 2), np.nan, np.float32)
    return Photos(images[chosen], np.float32(landmarks[chosen]), np.float32(pupils[chosen]))
