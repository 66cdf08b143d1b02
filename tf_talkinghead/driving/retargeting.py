"""Retargeting: a driver's motion, or expressions over time, as points of an avatar.

    face = AvatarFace.of(client.card())
    points = on_avatar(motion, face, Steering(pose=0.5, lips=1.2))    # float32 [T, 68 or 70, 2]

Pure numpy.
"""

from dataclasses import astuple, dataclass

import numpy as np

from tf_talkinghead.driving import adaptation
from tf_talkinghead.driving.driver import STILL_FPS, DriverMotion
from tf_talkinghead.driving.expression import Expression, express_motion, read_motion
from tf_talkinghead.driving.framing import kept_in_frame
from tf_talkinghead.driving.gaze import steady_gaze, with_gaze
from tf_talkinghead.driving.motion_file import Motion, resampled
from tf_talkinghead.driving.scripted_motion import scripted_motion
from tf_talkinghead.driving.strengths import UNCHANGED, Steering, strengthen

_NOTHING = Expression()


@dataclass(frozen=True)
class AvatarFace:
    """An avatar's face as its card describes it."""

    reference: np.ndarray  # float64 [68, 2], neutral landmarks
    pupils: np.ndarray | None = None  # float64 [2, 2] of the same picture; None: not known
    gaze: bool = False  # whether the avatar takes pupils

    @classmethod
    def of(cls, card: dict) -> "AvatarFace":
        """The face of a card that has reference landmarks."""
        pupils = card.get("reference_pupils")
        pupils = None if pupils is None else np.array(pupils, np.float64)
        reference = np.array(card["reference_landmarks"], np.float64)
        return cls(reference, pupils, bool(card.get("gaze")))

    @property
    def points(self) -> np.ndarray:
        """The reference with pupils where they are known, [68 or 70, 2]."""
        if self.pupils is None:
            return self.reference
        return np.concatenate([self.reference, self.pupils])


def on_avatar(
    motion: DriverMotion,
    face: AvatarFace | None,
    steering: Steering = UNCHANGED,
    mode: str = "relative",
) -> np.ndarray:
    """The driver's motion on an avatar's face.

    Args:
      motion: the driver's; `motion.neutral` maps to the avatar's reference.
      face: the avatar's; None, where it is not known, only with mode "none".
      steering: strengths of pose, eyes, lips and brows.
      mode: "relative" or "none", see `adaptation.adapt`; with "relative" the face is kept in the
        picture.

    Returns:
      float32 [T, 68, 2], or [T, 70, 2] where the avatar takes pupils and the driver's are known.
    """
    still = np.float64(motion.neutral) if mode == "none" else face.points
    landmarks = adaptation.adapt(motion.landmarks, motion.neutral, still[:68], mode)
    if face is not None and face.gaze and motion.pupils is not None:
        gaze = steady_gaze(motion.landmarks, motion.pupils, motion.neutral, motion.fps)
        if gaze is not None:
            landmarks = with_gaze(landmarks, still, gaze)
    points = steered(landmarks, still, steering)
    return points if mode == "none" else kept_in_frame(points, still)


def expressed_on_avatar(
    motion: Motion, face: AvatarFace, fps: float, steering: Steering = UNCHANGED
) -> np.ndarray:
    """Expressions over time on an avatar's face, float32 [T, 68 or 70, 2] at `fps`.

    68 rows where no frame has a gaze or the avatar takes no pupils. Values beyond
    `expression.ranges()` are clamped, with a UserWarning.
    """
    points = express_motion(face.points, resampled(motion, fps))
    if not (face.gaze and np.isfinite(points[:, 68:]).any()):
        points = points[:, :68]
    return kept_in_frame(steered(points, face.points, steering), face.points)


def steered(
    landmarks,
    reference,
    steering: Steering,
    more: Expression | None = None,
    gaze: bool = False,
) -> np.ndarray:
    """Landmarks with the strengths applied, and an expression added.

    Args:
      landmarks: float [T, 68 or 70, 2] of an avatar.
      reference: float [68 or 70, 2], its neutral face.
      steering: strengths of the motion's parts.
      more: expression that is added afterwards, within `expression.ranges()`; None: nothing.
      gaze: whether the avatar takes pupils: if `more` has a gaze, they are then added to landmarks
        without pupils.

    Returns:
      float32 [T, 68 or 70, 2].
    """
    if steering == UNCHANGED and more in (None, _NOTHING):
        return np.float32(landmarks)
    if more is None:
        return strengthen(landmarks, reference, *astuple(steering))
    looks = np.isfinite([more.gaze_x, more.gaze_y]).any()
    if looks and gaze and np.shape(landmarks)[1] == 68:
        landmarks = with_gaze(landmarks, reference, np.zeros((len(landmarks), 2)))
    return strengthen(landmarks, reference, *astuple(steering), more=more)


def scripted_driver(face: AvatarFace, fps: float) -> DriverMotion:
    """The scripted motion of an avatar's own face as a DriverMotion."""
    landmarks = scripted_motion(face.reference, fps=fps)
    return DriverMotion(
        path=None,
        landmarks=landmarks,
        seen=np.ones(len(landmarks), bool),
        fps=fps,
        neutral=np.float32(face.reference),
    )


def saved_motion(motion: DriverMotion) -> Motion:
    """A driver's motion in the form of a motion file: landmarks, and expressions read from them."""
    pupils = motion.pupils
    if pupils is None:
        pupils = np.full((len(motion.landmarks), 2, 2), np.nan, np.float32)
    points = np.concatenate([motion.landmarks, pupils], axis=1)
    times = np.arange(len(points)) / motion.fps
    return Motion(times, read_motion(points, motion.neutral), points, motion.neutral)


def driver_of(saved: Motion, path) -> DriverMotion:
    """The driver's motion of a motion file with landmarks; undoes `saved_motion`.

    The frame rate is the mean one, since times in the file are rounded.
    """
    points, times = saved.landmarks, saved.times
    rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else STILL_FPS
    pupils = points[:, 68:] if points.shape[1] == 70 else None
    return DriverMotion(
        path=path,
        landmarks=points[:, :68],
        seen=np.ones(len(points), bool),
        fps=round(float(rate), 2),
        neutral=saved.neutral if saved.neutral is not None else points[0, :68],
        pupils=pupils if pupils is not None and np.isfinite(pupils).any() else None,
    )
