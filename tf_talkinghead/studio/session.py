"""One tab that moves one avatar: camera frames and slider positions in, rendered frames out.

Messages of the page (numbers little-endian):

  text    {"type": "pose", "tag": any, "now": page's milliseconds, "expression": {...},
          "strengths": {...}}: sliders
          {"type": "camera", "on": bool}: whether camera frames follow
          {"type": "rest"}: the driver's neutral face is found anew, in the next 1.5 seconds
          {"type": "record", "on": bool}
  binary  1 (uint8), moment (float64, page's milliseconds), JPEG: a frame of the camera
          2 (uint8), moment, samples a second (uint32), int16 samples: sound, while recording

Messages to the page:

  binary  length of the head (uint32), head as JSON, JPEG. The head has moment (of the camera frame
          that is shown, null for a pose without one), tag, seen, dropped, and delay, the
          milliseconds in the studio
  text    {"type": "ready" | "recording" | "recorded" | "refused", ...}

A camera frame is not kept longer than until the next one has come.
"""

import asyncio
import contextlib
import functools
import io
import json
import math
import pathlib
import struct
import time

import anyio
import cv2
import numpy as np
from PIL import Image
from starlette.websockets import WebSocket, WebSocketDisconnect

from tf_talkinghead.driving.live import LiveDriver
from tf_talkinghead.errors import InputError, TalkingHeadError
from tf_talkinghead.faces.crops import default_landmarks
from tf_talkinghead.studio import recording
from tf_talkinghead.studio.controls import expression_of, steering_of
from tf_talkinghead.studio.uploads import object_of
from tf_talkinghead.studio.words import plain

FRAME, SOUND = 1, 2  # first byte of a binary message
FRAME_HEAD = struct.Struct("<xd")
MAX_MESSAGE_BYTES = 1 << 20
_MAX_FRAME_SIDE = 1280  # pixels of a camera frame
_TOO_LARGE = f"at most {_MAX_FRAME_SIDE} pixels on a side are taken"
_POLL = 0.2  # seconds after which a waiting thread checks whether the tab is still open


class Session:
    """One WebSocket's session; `run` lasts as long as the tab."""

    def __init__(self, person: str, gallery, stage, jobs, folder: pathlib.Path):
        self._person, self._gallery, self._stage, self._jobs = person, gallery, stage, jobs
        self._folder, self._recording, self._made = folder, None, 0
        self._clock = math.inf  # this clock minus the page's, seconds; the least difference seen
        self.camera = False

    async def run(self, socket: WebSocket) -> None:
        """Serves an accepted socket until it closes."""
        try:
            face = await anyio.to_thread.run_sync(self._gallery.face, self._person)
            model = await anyio.to_thread.run_sync(default_landmarks)
        except TalkingHeadError as error:
            await self._refuse(socket, error)
            return
        client = self._gallery.client(self._person)
        render = lambda points: client.jpegs(points)[0]
        live = LiveDriver(model, face, render, decode=decoded)
        try:
            await socket.send_json({"type": "ready", "gaze": face.gaze})
            receiving = asyncio.create_task(self._receive(socket, live))
            answering = asyncio.create_task(self._answer(socket, live))
            done, rest = await asyncio.wait(
                (receiving, answering), return_when=asyncio.FIRST_COMPLETED
            )
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)
            for task in done:
                with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                    try:
                        task.result()
                    except TalkingHeadError as error:
                        await self._refuse(socket, error)
        finally:
            self._stage.release(self)
            if self._recording is not None:
                self._recording.drop()
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(live.close)

    async def _refuse(self, socket, error):
        with contextlib.suppress(RuntimeError):
            await socket.send_json({"type": "refused", "why": plain(error)})
            await socket.close(1008)

    async def _receive(self, socket, live):
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if message.get("bytes") is not None:
                self._take(message["bytes"], live)
            else:
                await self._obey(socket, object_of(message.get("text") or ""), live)

    def _take(self, message, live):
        kind = message[0] if message else None
        if kind == FRAME and len(message) > FRAME_HEAD.size:
            moment = FRAME_HEAD.unpack_from(message)[0] / 1e3
            if not math.isfinite(moment):
                raise InputError("frame: expected a finite moment")
            self._clock = min(self._clock, time.monotonic() - moment)
            if self.camera:
                live.submit(message[FRAME_HEAD.size :], moment)
        elif kind == SOUND:
            if self._recording is not None:
                self._recording.add_sound(*recording.sound_message(message))
        else:
            raise InputError("expected a frame or sound, got another message")

    async def _obey(self, socket, given, live):
        kind = given.get("type")
        if kind == "pose":
            more = expression_of(given.get("expression") or {})
            steering = steering_of(given.get("strengths") or {})
            if isinstance(given.get("now"), int | float) and math.isfinite(given["now"]):
                self._clock = min(self._clock, time.monotonic() - given["now"] / 1e3)
            self._stage.claim(self, self.camera)
            live.pose(steering, more, given.get("tag"))
        elif kind == "camera":
            self.camera = given.get("on") is True
            self._stage.claim(self, self.camera)
            if not self.camera:
                live.forget()
        elif kind == "rest":
            live.rest()
        elif kind == "record":
            await self._record(socket, given.get("on") is True)
        else:
            raise InputError(f"there is no message of type {str(kind)[:40]!r}")

    async def _record(self, socket, on):
        if on and self._recording is None:
            self._made += 1
            self._recording = recording.Recording(self._folder / f"{id(self):x}-{self._made}")
            await socket.send_json({"type": "recording"})
        elif not on and self._recording is not None:
            done, self._recording = self._recording, None
            card = await anyio.to_thread.run_sync(self._gallery.card, self._person)
            make = functools.partial(
                done.make, models=self._gallery.models, person=self._person, card=card
            )
            try:
                job = self._jobs.submit("recording", self._person, "Recorded live", make)
            except TalkingHeadError:
                done.drop()
                raise
            await socket.send_json({"type": "recorded", "job": job.id})

    async def _answer(self, socket, live):
        waiting = anyio.CapacityLimiter(1)  # a thread of its own, not one of the shared pool
        while True:
            answer = await anyio.to_thread.run_sync(
                live.answer, _POLL, abandon_on_cancel=True, limiter=waiting
            )
            if answer is None:
                continue
            head = {
                "moment": None if answer.label is None else answer.label * 1e3,
                "tag": answer.tag,
                "seen": answer.seen,
                "dropped": answer.dropped,
                "delay": round(1e3 * answer.delay, 1),
            }
            jpeg = answer.rendered or b""
            text = json.dumps(head).encode()
            await socket.send_bytes(struct.pack("<I", len(text)) + text + jpeg)
            if jpeg:
                await self._stage.show(self, jpeg)
            if jpeg and self._recording is not None:
                moment = answer.label
                if moment is None and math.isfinite(self._clock):
                    moment = time.monotonic() - answer.delay - self._clock
                if moment is not None:
                    self._recording.add_frame(moment, jpeg)
                if self._recording.full:
                    await self._record(socket, False)


def decoded(data: bytes) -> np.ndarray:
    """A camera's JPEG as uint8 RGB [H, W, 3]; its header is checked before it is decoded.

    Raises:
      InputError: no JPEG, or more than 1280 pixels on a side.
    """
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as picture:
            width, height = picture.size
    except Image.DecompressionBombError as error:
        raise InputError(f"frame: {_TOO_LARGE}") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise InputError("frame: expected a JPEG") from error
    if max(width, height) > _MAX_FRAME_SIDE:
        raise InputError(f"frame: {_TOO_LARGE}; it has {width} x {height}")
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if picture is None:
        raise InputError("frame: a damaged JPEG")
    return picture
