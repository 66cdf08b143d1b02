"""Landmarks over time as a short string, for motion files.

Points are rounded to 1/5000 of the crop (a twentieth of a pixel at 256 px); what is stored is how
each coordinate changes from frame to frame, deflated, in base64: 50 to 100 bytes a frame instead of
1,000 as a list of numbers.
"""

import base64
import binascii
import zlib

import numpy as np

from tf_talkinghead.errors import InputError

_STEPS = 5000  # to the crop's side
_UNKNOWN = -(2**15)  # NaN: a pupil that was not found
_MOST = 2**15 - 1


def pack(landmarks: np.ndarray) -> str:
    """Packs landmarks, float [T, P, 2], into a string; NaN is kept.

    Coordinates are clipped to -6.5 to 6.5.
    """
    steps = np.clip(np.round(np.asarray(landmarks, np.float64) * _STEPS), 1 - _MOST, _MOST)
    steps = np.where(np.isnan(steps), _UNKNOWN, steps).astype("<i2").reshape(len(landmarks), -1)
    changes = steps.copy()
    changes[1:] = steps[1:] - steps[:-1]  # wraps around, and back in `unpack`
    return base64.b64encode(zlib.compress(changes.T.tobytes(), 9)).decode()


def unpack(text: str, frames: int) -> np.ndarray:
    """The landmarks, float32 [frames, 68 or 70, 2], of a string that `pack` made.

    Raises:
      InputError: not such a string, or one of another number of frames or points.
    """
    sizes = {frames * points * 4: points for points in (68, 70)}
    try:
        reader = zlib.decompressobj()
        # One byte more than the longest valid content, so that a zip bomb is not unpacked.
        data = reader.decompress(base64.b64decode(text, validate=True), max(sizes) + 1)
    except (TypeError, ValueError, binascii.Error, zlib.error) as error:
        raise InputError(f"landmarks: not packed landmarks ({error})") from error
    if len(data) not in sizes:
        raise InputError(f"landmarks: expected {frames} frames of 68 or 70 points")
    points = sizes[len(data)]
    changes = np.frombuffer(data, "<i2").reshape(points * 2, frames).T
    steps = np.cumsum(changes, axis=0, dtype=np.int16).reshape(frames, points, 2)
    return np.where(steps == _UNKNOWN, np.nan, steps / np.float64(_STEPS)).astype(np.float32)
