"""Input validation of the client: landmarks with or without the pupils."""

import numpy as np

from tf_talkinghead.errors import InputError

LANDMARKS, POINTS = 68, 70  # without and with the pupils, rows 68 (the person's right) and 69


def checked_points(points) -> np.ndarray:
    """Points as float32 [T, 68, 2] or [T, 70, 2].

    Raises:
      InputError: another shape; landmarks that are not finite; pupils that are neither both finite
        nor both NaN ("as in the photo"). It names the first such frame.
    """
    points = np.asarray(points, np.float32)
    if points.ndim != 3 or points.shape[1:] not in ((LANDMARKS, 2), (POINTS, 2)):
        raise InputError(
            "landmarks: expected [T, 68, 2], or [T, 70, 2] with the pupils, "
            f"got {list(points.shape)}"
        )
    finite = np.isfinite(points[:, :LANDMARKS]).all(axis=(1, 2))
    if not finite.all():
        raise InputError(
            f"landmarks: frame {int(np.argmin(finite))} has numbers that are not finite"
        )
    pupils = points[:, LANDMARKS:]
    good = np.isfinite(pupils).all(axis=(1, 2)) | np.isnan(pupils).all(axis=(1, 2))
    if not good.all():
        raise InputError(
            f"landmarks: the pupils of frame {int(np.argmin(good))} must be finite, or NaN in both "
            "to leave the gaze as in the photo"
        )
    return points
