"""Expression parameters: pose, lids, brows, mouth and gaze, converted to landmarks and back.

    points = express(reference, Expression(yaw=15, lid_left=0.7))    # a wink to the side, [68, 2]
    expression = read(landmarks, reference)

All parameters are relative to the person's `reference` (the avatar card's neutral landmarks), which
is `Expression()`. An expression read from a driver can therefore be applied to any other person.

| parameter | unit | positive |
|---|---|---|
| yaw, pitch, roll | degrees in the picture's axes | to the right; downwards; clockwise |
| x, y | eye distances of the reference | to the right; downwards |
| scale | times the reference's | larger; 1 is as in the reference |
| lid_right, lid_left | share of the reference's lid gap | closed; below 0 wider |
| brow_right, brow_left | eye distances | raised |
| jaw | eye distances between the lips | opened |
| mouth_width | eye distances between its corners | wider |
| smile | eye distances, corners over the upper lip | corners up |
| pucker | eye distances, thickness of the lips | pursed: thicker and narrower |
| gaze_x, gaze_y | eye widths | to the right; downwards; NaN is "as in the photo" |

Right and left are the person's own. dlib never sees a lid quite shut: a blink is 0.6 to 0.8.
Landmarks are float [68, 2], fractions of the square crop, or [70, 2] with the pupils in rows 68
(right) and 69. If the reference itself is turned, the angles add to its own.

Measured on the 20 "report" people (tests/test_expression_clips.py): the numbers of a clip follow a
measure made without the model with a median correlation of 0.97 (yaw, by solvePnP), 0.97 (lids),
0.99 (jaw), 0.92 (mouth width), 0.97 (gaze across), 0.8 to 0.9 (brows, smile, pucker), 0.77 (pitch)
and 0.75 (scale); landmarks reconstructed from the parameters differ by 4.7 % of the eye distance.
"""

import dataclasses
import functools
import math
import warnings
from dataclasses import dataclass

import numpy as np

from tf_talkinghead.driving import face_model
from tf_talkinghead.driving.face_model import GAZE, NAMES
from tf_talkinghead.driving.face_numbers import PersonFace
from tf_talkinghead.errors import InputError

_SCALE = NAMES.index("scale")
_GAZE = slice(NAMES.index(GAZE[0]), None)


@dataclass(frozen=True)
class Expression:
    """Sixteen expression parameters in the units above; the defaults are the reference itself."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    x: float = 0.0
    y: float = 0.0
    scale: float = 1.0
    lid_right: float = 0.0
    lid_left: float = 0.0
    brow_right: float = 0.0
    brow_left: float = 0.0
    jaw: float = 0.0
    mouth_width: float = 0.0
    smile: float = 0.0
    pucker: float = 0.0
    gaze_x: float = math.nan
    gaze_y: float = math.nan


def express(reference: np.ndarray, expression: Expression) -> np.ndarray:
    """Landmarks of a person that show an expression.

    Args:
      reference: float [68, 2] or [70, 2], the person's neutral landmarks; the pupils may be NaN.
      expression: parameters. Those beyond `ranges()` are clamped, and a UserWarning names them.

    Returns:
      float32 [70, 2] where the reference has 70 rows or the gaze is given, else [68, 2]. Rows 68
      and 69 are NaN where the gaze is: both pupils as in the photo.

    Raises:
      InputError: a wrong shape or degenerate face in `reference`, or a number that is not finite.
    """
    numbers = np.array(dataclasses.astuple(expression), np.float64)[None]
    points = express_motion(reference, numbers)[0]
    return points if len(reference) == 70 or np.isfinite(points[68:]).all() else points[:68]


def read(landmarks: np.ndarray, reference: np.ndarray) -> Expression:
    """Expression of landmarks relative to a person's reference, both [68, 2] or [70, 2].

    The gaze is NaN where the landmarks have no pupils. A reference without pupils is assumed to
    have the model's average gaze. Nothing is clamped.

    Raises:
      InputError: a wrong shape, landmarks that are not finite, or a degenerate reference.
    """
    landmarks = np.asarray(landmarks)
    if landmarks.ndim != 2:
        raise InputError(f"landmarks: expected [68, 2] or [70, 2], got {list(landmarks.shape)}")
    return Expression(*read_motion(landmarks[None], reference)[0].tolist())


def express_motion(reference: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Landmarks of a person for a sequence of expressions, float32 [T, 70, 2].

    Args:
      reference: as in `express`.
      numbers: float [T, 16] in the order of NAMES; only the last two may be NaN. Values beyond
        `ranges()` are clamped, with a UserWarning.

    Raises:
      InputError: as in `express`.
    """
    numbers = clamped(checked_numbers(numbers))
    return person_face(reference).landmarks(numbers).astype(np.float32)


def read_motion(landmarks: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Expression parameters of a clip, float64 [T, 16] in the order of NAMES.

    Args:
      landmarks: float [T, 68, 2] or [T, 70, 2]; pupils may be NaN.
      reference: as in `express`.

    Raises:
      InputError: as in `read`.
    """
    return person_face(reference).numbers(checked_points(landmarks, "landmarks", 3))


def ranges() -> dict[str, tuple[float, float]]:
    """Minimum and maximum of each parameter in the training clips."""
    return dict(face_model.load_face_model().ranges)


def clamped(numbers: np.ndarray) -> np.ndarray:
    """Parameters [T, 16] clamped to `ranges()`; a UserWarning names those that were outside."""
    limits = np.array([ranges()[name] for name in NAMES]).T
    inside = np.clip(numbers, *limits)
    beyond = np.nonzero((np.abs(inside - numbers) > 1e-6).any(axis=0))[0]
    if len(beyond):
        said = [
            f"{NAMES[k]} {_span(numbers[:, k])} (possible: {_span(limits[:, k])})" for k in beyond
        ]
        warnings.warn(f"expression clamped: {', '.join(said)}", UserWarning, stacklevel=3)
    return inside


def _span(values):
    low, high = f"{np.nanmin(values):.3g}", f"{np.nanmax(values):.3g}"
    return low if low == high else f"{low} to {high}"


def checked_numbers(numbers: np.ndarray) -> np.ndarray:
    """Parameters as float64 [T, 16]; InputError for a wrong shape or values that are not finite.

    Where one number of the gaze is given, an unknown other one is 0.
    """
    numbers = np.array(numbers, np.float64)
    if numbers.ndim != 2 or numbers.shape[1] != len(NAMES):
        raise InputError(f"expressions: expected [frames, {len(NAMES)}], got {list(numbers.shape)}")
    for name, column in zip(NAMES, numbers.T):
        bad = ~np.isfinite(column) if name not in GAZE else np.isinf(column)
        if bad.any():
            frame = int(np.argmax(bad))
            raise InputError(
                f"{name}: expected a finite number, got {column[frame]} in frame {frame}"
            )
    gaze = numbers[:, _GAZE]
    # A gaze given in one direction only is straight (0) in the other.
    gaze[np.isnan(gaze) & np.isfinite(gaze).any(axis=1, keepdims=True)] = 0.0
    if (numbers[:, _SCALE] <= 0).any():
        raise InputError(f"scale: expected a number above 0, got {numbers[:, _SCALE].min():g}")
    return numbers


def checked_points(points: np.ndarray, name: str, rank: int) -> np.ndarray:
    """Landmarks with or without pupils as float64; InputError for wrong shapes or values."""
    points = np.array(points, np.float64)
    if points.ndim != rank or points.shape[-2:] not in ((68, 2), (70, 2)):
        frames = "" if rank == 2 else "frames, "
        raise InputError(
            f"{name}: expected [{frames}68, 2] or [{frames}70, 2], got {list(points.shape)}"
        )
    if not np.isfinite(points[..., :68, :]).all():
        raise InputError(f"{name}: the 68 landmarks must be finite")
    return points


def person_face(reference: np.ndarray) -> PersonFace:
    """The shipped face model fitted to a person's reference; InputError for a degenerate one."""
    reference = checked_points(reference, "reference", 2)
    if np.ptp(reference[:68], axis=0).min() <= 0:
        raise InputError("reference: its 68 landmarks lie in one line or point")
    return _fitted(reference.tobytes())


@functools.lru_cache(maxsize=64)  # live driving asks for the same face several times a frame
def _fitted(reference):
    points = np.frombuffer(reference, np.float64).reshape(-1, 2)
    return PersonFace(face_model.load_face_model(), points)
