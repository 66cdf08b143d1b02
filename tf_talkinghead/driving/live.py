"""Live driving with a bounded delay: of the frames that wait, the newest wins.

    with LiveDriver(model, AvatarFace.of(card), lambda points: client.jpegs(points)[0]) as live:
        live.submit(frame)              # as often as the camera gives frames; never blocks
        answer = live.answer(timeout=1) # the newest LiveFrame, or None

Two threads, one that finds landmarks and one that renders, each with room for one waiting frame: a
frame that comes before the one ahead of it was taken replaces it. So the delay stays below twice
the time of both stages, however fast the camera and however slow the server. A face that is lost
holds its last pose, with `seen` false; another face takes over only when the first is lost.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tf_talkinghead.config import PreparationConfig
from tf_talkinghead.driving import adaptation
from tf_talkinghead.driving.retargeting import AvatarFace, steered
from tf_talkinghead.driving.smoothing import FACE, OneEuro
from tf_talkinghead.driving.strengths import UNCHANGED, Steering
from tf_talkinghead.faces import cropping, geometry
from tf_talkinghead.faces.landmarks import UNSURE, LandmarkModel

DETECT_EVERY = 12  # frames from one detection to the next; between them the face is followed
NEUTRAL_SECONDS = 1.5  # after the first face, during which the most neutral frame is looked for
_RATES = (5.0, 60.0)  # frames per second that the filter is told, at least and at most


@dataclass(frozen=True)
class LiveFrame:
    """One answer."""

    number: int  # of the submitted frame, from 0
    landmarks: np.ndarray | None  # float32 [68, 2], pixels of the submitted frame; None: no face
    rendered: object  # what the renderer gave
    seen: bool  # false where the last pose is held
    delay: float  # seconds from `submit` to here
    dropped: int  # frames submitted so far that a newer one replaced


class LiveDriver:
    """Frames in, rendered frames out, with the newest frame first.

    Args:
      model: the landmark model.
      face: the avatar's.
      render: points float32 [1, 68, 2] -> a frame or a JPEG; called in a thread of its own.
      steering: strengths of the motion's parts.
      smoothing: whether landmarks are smoothed (One-Euro filter, which does not look ahead).
    """

    def __init__(
        self,
        model: LandmarkModel,
        face: AvatarFace,
        render: Callable[[np.ndarray], object],
        steering: Steering = UNCHANGED,
        smoothing: bool = True,
    ):
        self._follower, self._render = _Follower(model), render
        self._motion = _LiveMotion(face, steering, smoothing)
        self._frames, self._points, self._answers = _Newest(), _Newest(), _Newest()
        self._number, self._error = 0, None
        self._threads = [
            threading.Thread(target=self._run, args=(step,), daemon=True)
            for step in (self._follow_one, self._render_one)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def submit(self, frame: np.ndarray) -> None:
        """Hands over the next frame of the camera, uint8 RGB [H, W, 3]; it may be left out."""
        self._frames.put((self._number, time.monotonic(), frame))
        self._number += 1

    def answer(self, timeout: float | None = None) -> LiveFrame | None:
        """The newest answer not taken yet; None after `timeout` seconds or when closed.

        An error of the renderer or of the landmark model is raised here.
        """
        answer = self._answers.take(timeout)
        if self._error is not None:
            raise self._error
        return answer

    def rest(self) -> None:
        """Takes the coming second as the driver's neutral face."""
        self._motion.rest()

    def close(self) -> None:
        """Ends both threads after what they are at."""
        for box in (self._frames, self._points, self._answers):
            box.close()
        for thread in self._threads:
            thread.join(10)

    def _run(self, step):
        try:
            while step():
                pass
        except Exception as error:
            self._error = error
            for box in (self._frames, self._points, self._answers):
                box.close()

    def _follow_one(self):
        taken = self._frames.take()
        if taken is None:
            return False
        number, since, frame = taken
        found = self._follower.step(frame)
        points = self._motion.step(found, since)
        self._points.put((number, since, found, points))
        return True

    def _render_one(self):
        taken = self._points.take()
        if taken is None:
            return False
        number, since, found, points = taken
        rendered = None if points is None else self._render(points[None])
        dropped = self._frames.replaced + self._points.replaced
        delay = time.monotonic() - since
        seen = found is not None
        self._answers.put(LiveFrame(number, found, rendered, seen, delay, dropped))
        return True


class _Newest:
    """A mailbox for one item: a newer one replaces it."""

    def __init__(self):
        self._changed = threading.Condition()
        self._item, self._closed, self.replaced = None, False, 0

    def put(self, item):
        with self._changed:
            self.replaced += self._item is not None
            self._item = item
            self._changed.notify()

    def take(self, timeout=None):
        """The item, once there is one; None after `timeout` seconds or when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._closed, timeout)
            item, self._item = self._item, None
            return None if self._closed else item

    def close(self):
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class _Follower:
    """The face of a live picture: the largest at first, then the same one until it is lost."""

    def __init__(self, model):
        self._model, self._face, self._wait = model, None, 0

    def step(self, frame):
        """Landmarks float32 [68, 2] in pixels, or None."""
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
            return None
        return self._face.points


class _LiveMotion:
    """Landmarks in pixels to the avatar's points, one frame at a time."""

    def __init__(self, face, steering, smoothing):
        self._face, self._steering, self._smoothing = face, steering, smoothing
        self._box = self._filter = self._neutral = self._last = self._since = None
        self._candidates, self._until = [], None

    def rest(self):
        self._candidates, self._until = [], None

    def step(self, found, now):
        """The avatar's points [68, 2]; the last ones where no face was found; None before one."""
        if found is None:
            return self._last
        if self._box is None:
            self._box = cropping.crop_box(found[None], PreparationConfig())
            self._filter = OneEuro(25.0, **FACE)
        landmarks = cropping.to_fractions(found, self._box)
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
        self._last = steered(points, self._face.reference, self._steering)[0]
        return self._last
