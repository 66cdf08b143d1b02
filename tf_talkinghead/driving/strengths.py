"""Motion strength: scales pose, eyes, lips and brows of a motion separately.

    landmarks = strengthen(landmarks, reference, pose=0.5, lips=1.2)

`landmarks` are the avatar's (the output of `adaptation.adapt`), `reference` its neutral landmarks.
Only the sixteen parameters of the face model change; the residual of the landmarks is preserved, so
strengths of 1 change nothing.
"""

import dataclasses
import functools
import math
from dataclasses import dataclass

import numpy as np

from tf_talkinghead.driving.expression import Expression, checked_points, person_face, ranges
from tf_talkinghead.driving.face_model import BROWS, GAZE, LIDS, LIPS_AND_JAW, NAMES, POSE
from tf_talkinghead.errors import InputError

LIMITS = (0.0, 1.5)
PARTS = {"pose": POSE, "eyes": LIDS + GAZE, "lips": LIPS_AND_JAW, "brows": BROWS}
_SCALE = NAMES.index("scale")
_GAZE = slice(NAMES.index(GAZE[0]), None)


@dataclass(frozen=True)
class Steering:
    """Strengths of a motion's parts, 0 to 1.5; 1 leaves the driver's motion as it is."""

    pose: float = 1.0
    eyes: float = 1.0
    lips: float = 1.0
    brows: float = 1.0


UNCHANGED = Steering()


def strengthen(
    landmarks: np.ndarray,
    reference: np.ndarray,
    pose: float = 1.0,
    eyes: float = 1.0,
    lips: float = 1.0,
    brows: float = 1.0,
    more: Expression | None = None,
) -> np.ndarray:
    """Multiplies the parts of a motion by their strengths.

    Args:
      landmarks: float [T, 68, 2] or [T, 70, 2]; pupils may be NaN.
      reference: float [68, 2] or [70, 2], the neutral landmarks, which strength 0 yields.
      pose: strength of head angles, position and size, 0 to 1.5; 0 keeps the head still.
      eyes: strength of lids and gaze, 0 to 1.5.
      lips: strength of jaw and mouth, 0 to 1.5.
      brows: strength of both brows, 0 to 1.5.
      more: an expression that is added afterwards; what it changes stays within `ranges()`.

    Returns:
      float32 of the landmarks' shape.

    Raises:
      InputError: a strength outside 0 to 1.5, or a wrong shape.
    """
    strengths = checked_strengths(pose=pose, eyes=eyes, lips=lips, brows=brows)
    landmarks = checked_points(landmarks, "landmarks", 3)
    face = person_face(reference)
    change = functools.partial(multiplied, **strengths)
    if more is not None:
        change = lambda numbers: added(multiplied(numbers, **strengths), more)
    return face.changed(landmarks, change).astype(np.float32)


def added(numbers: np.ndarray, more: Expression) -> np.ndarray:
    """Face-model parameters [T, 16] plus an expression; scales are multiplied.

    Results are clamped to `ranges()`; a number that was already outside may stay where it was. A
    gaze that is NaN in `numbers` stays NaN; one that is NaN in `more` adds nothing.
    """
    extra = np.array(dataclasses.astuple(more))
    extra[_GAZE] = np.nan_to_num(extra[_GAZE])
    result = numbers + extra
    result[:, _SCALE] = numbers[:, _SCALE] * more.scale
    limits = np.array([ranges()[name] for name in NAMES])
    low, high = np.fmin(numbers, limits[:, 0]), np.fmax(numbers, limits[:, 1])
    return np.clip(result, low, high)


def multiplied(numbers: np.ndarray, pose=1.0, eyes=1.0, lips=1.0, brows=1.0) -> np.ndarray:
    """Face-model parameters [T, 16] times their part's strength; scale is raised to that power."""
    strengths = {"pose": pose, "eyes": eyes, "lips": lips, "brows": brows}
    factors = np.ones(len(NAMES))
    for part, names in PARTS.items():
        factors[[NAMES.index(name) for name in names]] = strengths[part]
    factors[_SCALE] = 1.0
    result = numbers * factors
    result[:, _SCALE] = numbers[:, _SCALE] ** pose
    return result


def checked_strengths(**strengths: float) -> dict[str, float]:
    """Returns valid strengths unchanged; raises InputError naming the flag of an invalid one."""
    low, high = LIMITS
    for name, value in strengths.items():
        if not (math.isfinite(value) and low <= value <= high):
            raise InputError(f"--{name}: expected a strength from {low:g} to {high:g}, got {value}")
    return strengths
