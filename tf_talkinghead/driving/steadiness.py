"""Steadiness of a landmark filter: how much jitter it leaves, and how far it lags behind.

    jitter(smoothed) / jitter(raw), lag(raw, smoothed)

Landmarks are float [T, 68, 2] of consecutive frames. Pure numpy.
"""

import numpy as np

from tf_talkinghead.faces.geometry import eye_distance

_SHIFTS = 4  # frames to either side within which a lag is looked for
_LEAST_AGREEMENT = 0.5  # cosine of the velocities


def jitter(landmarks: np.ndarray) -> float:
    """Mean length of the points' second difference, as a share of the eye distance.

    It is 0 for a face that moves evenly, and 4 a for points that alternate between -a and a.
    """
    landmarks = np.asarray(landmarks, np.float64)
    steps = np.linalg.norm(np.diff(landmarks, n=2, axis=0), axis=-1).mean(axis=-1)
    return float((steps / eye_distance(landmarks[1:-1])).mean())


def lag(raw: np.ndarray, smoothed: np.ndarray) -> float:
    """Delay of the smoothed motion in frames, with fractions; negative where it is early.

    It is the shift at which the velocities of all points have the largest cosine; NaN where that is
    below 0.5, since the face hardly moves.
    """
    a, b = (
        np.diff(np.float64(clip), axis=0).reshape(len(clip) - 1, -1) for clip in (raw, smoothed)
    )
    inner = slice(_SHIFTS, len(a) - _SHIFTS)
    shifts = np.arange(-_SHIFTS, _SHIFTS + 1)
    agreement = []
    for shift in shifts:
        late = b[_SHIFTS + shift : len(b) - _SHIFTS + shift]
        size = np.linalg.norm(a[inner]) * np.linalg.norm(late)
        agreement.append((a[inner] * late).sum() / max(size, 1e-12))
    best = int(np.clip(np.argmax(agreement), 1, len(shifts) - 2))
    if max(agreement) < _LEAST_AGREEMENT:
        return float("nan")
    left, top, right = agreement[best - 1 : best + 2]
    curvature = left - 2 * top + right
    return float(shifts[best] + (0.5 * (left - right) / curvature if curvature < 0 else 0.0))
