"""Live driving with a bounded delay: only the newest waiting frame is processed.

    with LiveDriver(model, AvatarFace.of(card), lambda points: client.jpegs(points)[0]) as live:
        live.submit(frame)              # as often as the camera gives frames; never blocks
        answer = live.answer(timeout=1) # the newest LiveFrame, or None
        live.pose(Steering(pose=0.5))   # at any time, without a camera too

Two threads, one that finds landmarks and one that renders, each have a queue of one frame: a new
frame replaces one that still waits. The delay therefore stays below twice the time of both stages,
however fast the camera and however slow the server. When the face is lost, its last pose is held
with `seen` false; another face is tracked only once the first is lost.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tf_talkinghead.driving.expression import Expression
from tf_talkinghead.driving.live_motion import Follower, LiveMotion
from tf_talkinghead.driving.retargeting import AvatarFace
from tf_talkinghead.driving.strengths import UNCHANGED, Steering
from tf_talkinghead.faces.landmarks import LandmarkModel

_IDLE = 0.25  # seconds without a frame, after which a new pose is rendered without waiting for one


@dataclass(frozen=True)
class LiveFrame:
    """One rendered frame."""

    number: int  # of the submitted frame, from 0
    landmarks: np.ndarray | None  # float32 [68, 2], pixels of the submitted frame; None: no face
    rendered: object  # the renderer's result; None before the first face
    seen: bool  # false where the last pose is held
    delay: float  # seconds from `submit` or `pose` to the end of rendering
    dropped: int  # submitted frames that a newer one replaced, so far
    label: object = None  # the frame's label, from `submit`; None for a pose without a frame
    tag: object = None  # of the settings that this frame shows, from `pose`


class LiveDriver:
    """Drives an avatar with a camera's frames, in two threads; it drops frames that come too fast.

    Args:
      model: the landmark model.
      face: the avatar's.
      render: points float32 [1, 68, 2] -> a frame or a JPEG; called in a thread of its own.
      steering: strengths of the motion's parts.
      smoothing: whether landmarks are smoothed (One-Euro filter, which does not look ahead).
      decode: turns a submitted object into a frame; called in the landmark thread, not for dropped
        frames. None: frames are submitted decoded.
      gaze: whether pupils are looked for, if the avatar takes them.
    """

    def __init__(
        self,
        model: LandmarkModel,
        face: AvatarFace,
        render: Callable[[np.ndarray], object],
        steering: Steering = UNCHANGED,
        smoothing: bool = True,
        decode: Callable[[object], np.ndarray] | None = None,
        gaze: bool = True,
    ):
        self._follower = Follower(model, pupils=gaze and face.gaze)
        self._render, self._decode = render, decode
        self._motion = LiveMotion(face, steering, smoothing)
        self._frames, self._points, self._answers = _Newest(), _Newest(), _Newest()
        self._number, self._error, self._submitted = 0, None, float("-inf")
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

    def submit(self, frame, label: object = None) -> None:
        """Hands over the camera's next frame, uint8 RGB [H, W, 3] or as `decode` takes it.

        It does not wait; the frame may be dropped.
        """
        self._submitted = time.monotonic()
        self._frames.put((self._number, self._submitted, frame, label))
        self._number += 1

    def pose(
        self, steering: Steering = UNCHANGED, more: Expression | None = None, tag: object = None
    ) -> None:
        """Sets the strengths, and the expression that is added to the driver's.

        Without a camera, or if no frame has come for 0.25 s, the face is rendered again at once.
        """
        self._motion.pose(steering, more, tag)
        now = time.monotonic()
        if now - self._submitted > _IDLE:
            points, tag = self._motion.again()
            self._points.put((self._number, now, None, points, None, tag))

    def forget(self) -> None:
        """Forgets the driver: until the next frame the avatar shows its own neutral face."""
        self._frames.drop()
        self._motion.forget()
        self._submitted = float("-inf")

    def answer(self, timeout: float | None = None) -> LiveFrame | None:
        """The newest answer not taken yet; None after `timeout` seconds or when closed.

        An error of the renderer or of the landmark model is raised here.
        """
        answer = self._answers.take(timeout)
        if self._error is not None:
            raise self._error
        return answer

    def rest(self) -> None:
        """Finds the driver's neutral face anew, in the frames of the next 1.5 seconds."""
        self._motion.rest()

    def close(self) -> None:
        """Ends both threads after their current frame."""
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
        number, since, frame, label = taken
        if self._decode is not None:
            frame = self._decode(frame)
        found, pupils = self._follower.step(frame)
        points, tag = self._motion.step(found, pupils, since)
        self._points.put((number, since, found, points, label, tag))
        return True

    def _render_one(self):
        taken = self._points.take()
        if taken is None:
            return False
        number, since, found, points, label, tag = taken
        rendered = None if points is None else self._render(points[None])
        dropped = self._frames.replaced + self._points.replaced
        delay = time.monotonic() - since
        seen = found is not None
        self._answers.put(LiveFrame(number, found, rendered, seen, delay, dropped, label, tag))
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

    def drop(self):
        """Forgets the item."""
        with self._changed:
            self._item = None

    def close(self):
        with self._changed:
            self._closed = True
            self._changed.notify_all()
