"""Faces that would leave the picture are kept inside.

The distance that a driver's head travels is measured in its own size. An avatar whose face fills
more of its picture would leave it, and beyond the border there is nothing to show. Pure numpy.
"""

import numpy as np

# Shares of the picture's side beyond which no landmark goes: at the left and the top, where the
# forehead is above the landmarks, and at the right and the bottom.
_MARGINS = np.array([0.03, 0.1]), np.array([0.03, 0.03])
_SOFT = 0.03  # distance to that margin at which a face begins to be held back


def kept_in_frame(landmarks: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The faces, each shifted as a whole as far as it would leave the picture.

    The shift begins softly near the border. A face goes at most to the margin, or to where the
    neutral face is, if that is nearer to the border. One larger than the picture is centred.

    Args:
      landmarks: float [T, 68 or 70, 2], fractions of the picture.
      reference: float [68 or 70, 2], the avatar's neutral face, which is not shifted.

    Returns:
      float32 of the same shape.
    """
    landmarks, rest = np.asarray(landmarks, np.float64), np.asarray(reference)[:68]
    face = landmarks[:, :68]
    # Distances of the face's sides from the borders: left and top, then right and bottom.
    near, far = face.min(axis=1), 1.0 - face.max(axis=1)
    rests = rest.min(axis=0), 1.0 - rest.max(axis=0)
    margins = [np.minimum(m, side - _SOFT) for m, side in zip(_MARGINS, rests, strict=True)]
    centred = (far - near) / 2.0  # the shift that makes both distances equal
    shift = np.minimum(_excess(margins[0] - near), np.maximum(centred, 0.0))
    shift -= np.minimum(_excess(margins[1] - far), np.maximum(-centred, 0.0))
    return np.float32(landmarks + shift[:, None])


def _excess(beyond):
    """max(0, beyond), rounded off within `_SOFT` of 0."""
    return np.where(
        np.abs(beyond) < _SOFT, np.square(beyond + _SOFT) / (4 * _SOFT), np.maximum(beyond, 0.0)
    )
