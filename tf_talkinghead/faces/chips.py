"""Face chips: faces cut out and aligned as dlib does for its recognition network.

    chips = face_chips(images, landmarks)
    # uint8 [B,H,W,3], float [B,68,2] -> uint8 [B,150,150,3]

dlib's own `get_face_chip` takes landmarks in whole pixels only. Here the alignment is given to dlib
as two lists of points (`chip_details`), so that landmarks keep their fractions of a pixel. Small
crops, such as 32 px, need this precision.
"""

import dlib
import numpy as np

from tf_talkinghead.errors import InputError

CHIP_SIZE = 150  # pixels; what the network was trained on
CHIP_PADDING = 0.25  # share of the mean face's extent added on each side, as in training

# The landmarks dlib aligns by: nose, eyes, and lips without the lower edge.
ALIGNED = (*range(27, 55), *range(60, 65))
# Their places in dlib's mean face, in a unit square (`get_face_chip_details` in its
# image_transforms).
MEAN_FACE = np.array(
    [
        (0.490127, 0.203352), (0.490127, 0.307009), (0.490127, 0.409805), (0.490127, 0.515625),
        (0.366880, 0.587326), (0.426036, 0.609345), (0.490127, 0.628106), (0.554217, 0.609345),
        (0.613373, 0.587326), (0.121737, 0.216423), (0.187122, 0.178758), (0.265825, 0.179852),
        (0.334606, 0.231733), (0.260918, 0.245099), (0.182743, 0.244077), (0.645647, 0.231733),
        (0.714428, 0.179852), (0.793132, 0.178758), (0.858516, 0.216423), (0.797510, 0.244077),
        (0.719335, 0.245099), (0.254149, 0.780233), (0.340985, 0.745405), (0.428858, 0.727388),
        (0.490127, 0.742578), (0.551395, 0.727388), (0.639268, 0.745405), (0.726104, 0.780233),
        (0.290379, 0.784792), (0.428096, 0.778746), (0.490127, 0.785343), (0.552157, 0.778746),
        (0.689874, 0.784792),
    ]
)  # fmt: skip
_IN_CHIP = (CHIP_PADDING + MEAN_FACE) / (2 * CHIP_PADDING + 1) * CHIP_SIZE  # [33,2], pixels


def face_chips(images, landmarks):
    """Aligned faces, bilinearly sampled, black outside the image.

    Args:
      images: uint8 RGB [B,H,W,3].
      landmarks: float [B,68,2], fractions of the image.

    Returns:
      uint8 RGB [B,150,150,3].

    Raises:
      InputError: wrong shapes or types, landmarks that are not finite, or a face outside the image.
    """
    images, landmarks = np.asarray(images), np.asarray(landmarks, np.float64)
    if images.ndim != 4 or images.dtype != np.uint8 or landmarks.shape != (len(images), 68, 2):
        raise InputError(
            "face chips: expected uint8 images [B,H,W,3] and landmarks [B,68,2], "
            f"got {images.dtype} {list(images.shape)} and {list(landmarks.shape)}"
        )
    aligned = landmarks[:, list(ALIGNED)]
    if not np.isfinite(aligned).all():
        raise InputError("face chips: expected finite landmarks, got NaN or infinity")
    if not ((aligned >= 0) & (aligned <= 1)).all(-1).any(-1).all():
        raise InputError(
            "face chips: expected landmarks as fractions of the image, got a face outside 0..1"
        )
    # A fraction counts from the image's edge, dlib's points from the centre of the first pixel.
    points = aligned * np.array(images.shape[2:0:-1]) - 0.5
    if not len(images):
        return np.zeros((0, CHIP_SIZE, CHIP_SIZE, 3), np.uint8)
    return np.stack([_chip(image, target) for image, target in zip(images, points, strict=True)])


def _chip(image, points):
    """The chip of a uint8 image [H,W,3] whose ALIGNED landmarks are `points` [33,2], pixels."""
    place = dlib.chip_details(
        _dpoints(_IN_CHIP), _dpoints(points), dlib.chip_dims(CHIP_SIZE, CHIP_SIZE)
    )
    return dlib.extract_image_chip(np.ascontiguousarray(image), place)


def _dpoints(points):
    return dlib.dpoints([dlib.dpoint(x, y) for x, y in points.tolist()])
