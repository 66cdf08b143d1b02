"""Motion of a live video, frame by frame: the tracked face, and the avatar's points.

    found, pupils = Follower(model, pupils=True).step(frame)   # pixels of the frame
    points, tag = motion.step(found, pupils, now)              # LiveMotion; [68 or 70, 2]

`LiveMotion.pose` may be called from another thread while frames come.
"""

import collections
import threading

import numpy as np

from tf_talkinghead.config import PreparationConfig
from tf_talkinghead.driving import adaptation
from tf_talkinghead.driving.expression import Expression, read_motion
from tf_talkinghead.driving.face_model import GAZE
from tf_talkinghead.driving.framing import kept_in_frame
from tf_talkinghead.driving.gaze import shrunk, with_gaze
from tf_talkinghead.driving.retargeting import AvatarFace, steered
from tf_talkinghead.driving.smoothing import FACE, OneEuro
from tf_talkinghead.driving.strengths import UNCHANGED, Steering
from tf_talkinghead.faces import cropping, geometry
from tf_talkinghead.faces.landmarks import UNSURE, LandmarkModel
from tf_talkinghead.faces.pupils import find_pupils

DETECT_EVERY = 12  # frames from one detection to the next; between them the face is followed
NEUTRAL_SECONDS = 1.5  # after the first face, during which the most neutral frame is looked for
_RATES = (5.0, 60.0)  # limits of the frame rate that the filter is given, Hz
_GAZE_FRAMES = 5  # frames whose median is the gaze, so that a single mistake has no effect
_USUAL_GAZE = 150  # frames whose median is the driver's usual gaze
_LEAST_GAZE = 12  # frames with pupils before a usual gaze is known; until then it is the photo's


class Follower:
    """Tracks the face of a live video: the largest at first, then the same one until it is lost."""

    def __init__(self, model: LandmarkModel, pupils: bool = False):
        self._model, self._pupils = model, pupils
        self._face, self._wait = None, 0

    def step(self, frame: np.ndarray):
        """Landmarks float32 [68, 2] and pupils [2, 2] in pixels; None where there are none."""
        if self._face is None or self._wait <= 0:
            found = self._model.detect(frame, self._face)
            if self._face is not None:
                found = [face for face in found if face.square.is_by(self._face.square)]
            self._face, self._wait = (found[0] if found else None), DETECT_EVERY
        else:
            self._face = self._model.follow(frame, self._face.points)
        self._wait -= 1
        if self._face is None or self._face.spread >= UNSURE:
            self._wait = 0  # detect again at once
            return None, None
        points = self._face.points
        if not self._pupils:
            return points, None
        size = np.array(frame.shape[1::-1])
        return points, find_pupils(frame[None], (points[None] + 0.5) / size)[0] * size - 0.5


class LiveMotion:
    """Landmarks in pixels to the avatar's points, one frame at a time."""

    def __init__(self, face: AvatarFace, steering: Steering = UNCHANGED, smoothing: bool = True):
        self._face, self._smoothing = face, smoothing
        self._lock = threading.Lock()
        self._steering, self._more, self._tag = steering, None, None
        self.forget()

    def forget(self) -> None:
        """Forgets the driver: the avatar's neutral face is shown."""
        with self._lock:
            self._box = self._filter = self._neutral = self._base = self._since = None
            self._candidates, self._until = [], None
            self._gaze = _LiveGaze()

    def rest(self) -> None:
        """Finds the driver's neutral face anew, in the frames of the next NEUTRAL_SECONDS."""
        with self._lock:
            self._candidates, self._until = [], None
            self._gaze = _LiveGaze()

    def pose(self, steering: Steering, more: Expression | None, tag: object = None) -> None:
        """Sets the strengths, and the expression that is added to the driver's."""
        with self._lock:
            self._steering, self._more, self._tag = steering, more, tag

    def again(self):
        """The last points [68 or 70, 2] with the present settings, and these settings' tag."""
        with self._lock:
            base = self._face.reference[None] if self._base is None else self._base
            return self._posed(base), self._tag

    def step(self, found, pupils, now: float):
        """The next frame.

        Args:
          found: landmarks float [68, 2] in pixels; None: no face, the last pose is held.
          pupils: float [2, 2] in pixels, NaN where unknown; None: not looked for.
          now: seconds of a monotonic clock.

        Returns:
          The avatar's points float32 [68 or 70, 2], None before the first face; the settings' tag.
        """
        with self._lock:
            if found is not None:
                self._base = self._adapted(found, pupils, now)
            if self._base is None:
                return None, self._tag
            return self._posed(self._base), self._tag

    def _posed(self, base):
        face = self._face
        points = steered(base, face.points, self._steering, self._more, face.gaze)
        return kept_in_frame(points, face.points)[0]

    def _adapted(self, found, pupils, now):
        if self._box is None:
            self._box = cropping.crop_box(found[None], PreparationConfig())
            self._filter = OneEuro(25.0, **FACE)
        landmarks = cropping.to_fractions(found, self._box)
        eyes = None if pupils is None else cropping.to_fractions(pupils, self._box)
        if self._smoothing:
            if self._since is not None:
                self._filter.fps = float(np.clip(1.0 / max(now - self._since, 1e-3), *_RATES))
            landmarks = self._filter(landmarks)
        self._since = now
        if self._until is None:
            self._until = now + NEUTRAL_SECONDS
        if now <= self._until or not self._candidates:
            self._candidates.append(landmarks)
            clip = np.stack(self._candidates)
            self._neutral = clip[geometry.neutral_frame(clip)]
        points = adaptation.adapt(landmarks[None], self._neutral, self._face.reference)
        if eyes is None or not self._face.gaze:
            return points
        gaze = self._gaze.step(landmarks, eyes, self._neutral)
        return points if gaze is None else with_gaze(points, self._face.points, gaze[None])


class _LiveGaze:
    """The driver's gaze relative to their usual one, without looking ahead (cf. `steady_gaze`)."""

    def __init__(self):
        self._last = collections.deque(maxlen=_GAZE_FRAMES)
        self._known = collections.deque(maxlen=_USUAL_GAZE)

    def step(self, landmarks, pupils, neutral):
        """Gaze [2] in eye widths; held while the eyes are shut; None before enough is known."""
        points = np.concatenate([landmarks, pupils])[None]
        gaze = read_motion(points, neutral)[0, -len(GAZE) :]
        if np.isfinite(gaze).all():
            self._last.append(gaze)
            self._known.append(gaze)
        if len(self._known) < _LEAST_GAZE:
            return None
        return shrunk(np.median(self._last, axis=0) - np.median(self._known, axis=0))
