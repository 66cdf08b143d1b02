"""Gaze of a driver: filtered over time, and turned into pupils of the avatar.

    gaze = steady_gaze(motion.landmarks, motion.pupils, motion.neutral, motion.fps)    # [T, 2]

Pupils are found in each frame alone and small shifts of gaze are noisy (both eyes agree with a
median correlation of 0.62). So the gaze is the mean of both eyes, relative to the clip's median
gaze; a median over 0.2 s removes single mistakes and keeps the steps of saccades; values below the
pupil finder's error are shrunk towards 0. Pure numpy.
"""

import numpy as np

from tf_talkinghead.driving.expression import person_face, read_motion
from tf_talkinghead.driving.face_model import GAZE

_MEDIAN = 0.2  # seconds
_NOISE = 0.03  # eye widths: error of the mean of both eyes, see faces/pupils.py
_LEAST_KNOWN = 0.2  # clips with known pupils in a smaller share of the frames have no gaze


def steady_gaze(landmarks, pupils, neutral, fps: float) -> np.ndarray | None:
    """The driver's gaze relative to the clip's median, float64 [T, 2] in eye widths.

    Args:
      landmarks: float [T, 68, 2].
      pupils: float [T, 2, 2] of the same frames, NaN where unknown.
      neutral: float [68, 2], the driver's neutral face.
      fps: frames per second.

    Returns:
      (x, y) positive to the picture's right and downwards, finite everywhere: blinks and gaps are
      bridged. None where the pupils are known in less than a fifth of the frames.
    """
    gaze = read_motion(np.concatenate([landmarks, pupils], axis=1), neutral)[:, -len(GAZE) :]
    known = np.isfinite(gaze).all(axis=-1)
    if known.mean() < _LEAST_KNOWN:
        return None
    frames = np.arange(len(gaze))
    gaze = np.stack([np.interp(frames, frames[known], gaze[known, k]) for k in (0, 1)], axis=-1)
    gaze -= np.median(gaze[known], axis=0)
    half = max(1, round(_MEDIAN * fps / 2))
    padded = np.pad(gaze, ((half, half), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1, axis=0)
    return shrunk(np.median(windows, axis=-1))


def shrunk(gaze: np.ndarray) -> np.ndarray:
    """Gaze [..., 2] with values of the size of the pupil finder's error reduced (Wiener filter)."""
    squared = np.square(gaze).sum(axis=-1, keepdims=True)
    return gaze * squared / (squared + _NOISE**2)


def with_gaze(landmarks: np.ndarray, reference: np.ndarray, gaze: np.ndarray) -> np.ndarray:
    """Landmarks of a person with pupils added at the gaze `gaze`.

    Args:
      landmarks: float [T, 68, 2].
      reference: float [68, 2] or [70, 2], the person's neutral landmarks. A gaze of 0 puts the
        pupils where the reference has them; without pupils, at the face model's mean place.
      gaze: float [T, 2] in eye widths.

    Returns:
      float32 [T, 70, 2].
    """
    pupils = person_face(reference).pupils_of(np.float64(landmarks), np.float64(gaze))
    return np.concatenate([landmarks, pupils], axis=1).astype(np.float32)
