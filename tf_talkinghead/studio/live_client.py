"""A client of the studio's live sessions without a browser, for programs and measurements.

with LiveClient("ws://localhost:7860/api/live/ann") as client:
    client.camera(True)
    for answer in client.drive(jpegs):    # answer.head, answer.jpeg
        ...
"""

import json
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from websockets.sync.client import connect

from tf_talkinghead.errors import InputError
from tf_talkinghead.studio.session import FRAME


@dataclass(frozen=True)
class Answer:
    """A frame of the avatar."""

    head: dict  # moment, tag, seen, dropped, delay; see session.py
    jpeg: bytes  # empty where no face was found yet


class LiveClient:
    """One live session.

    Args:
      address: of the WebSocket, ws://HOST:PORT/api/live/PERSON.
      token: the studio's token; None where it needs none.

    Raises:
      InputError: the studio refuses the session; the message is the studio's.
    """

    def __init__(self, address: str, token: str | None = None):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._socket = connect(
            address, additional_headers=headers, compression=None, max_size=None, proxy=None
        )
        self.hello = self._text(self._socket.recv())

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._socket.close()

    def send(self, **message) -> None:
        """Sends a message of text; see session.py."""
        self._socket.send(json.dumps(message))

    def camera(self, on: bool) -> None:
        """Tells the studio whether camera frames follow."""
        self.send(type="camera", on=on)

    def frame(self, moment: float, jpeg: bytes) -> None:
        """Sends a camera's frame; `moment` in milliseconds of any monotonic clock."""
        self._socket.send(struct.pack("<Bd", FRAME, moment) + jpeg)

    def receive(self, timeout: float | None = None) -> Answer | dict:
        """The next frame, or the next message of text as a dict."""
        message = self._socket.recv(timeout=timeout)
        if isinstance(message, str):
            return self._text(message)
        (length,) = struct.unpack_from("<I", message)
        return Answer(json.loads(message[4 : 4 + length]), message[4 + length :])

    def drive(self, jpegs: Iterable[bytes], in_flight: int = 2) -> Iterator[Answer]:
        """Sends frames, at most `in_flight` unanswered, and gives the answers as they come.

        The studio may drop a frame when a newer one arrives; such a frame has no answer.

        Moments are milliseconds of time.monotonic().
        """
        waiting = []
        for jpeg in jpegs:
            moment = 1e3 * time.monotonic()
            waiting.append(moment)
            self.frame(moment, jpeg)
            while len(waiting) >= in_flight:
                answer = self.receive()
                if isinstance(answer, Answer) and answer.head["moment"] is not None:
                    waiting = [each for each in waiting if each > answer.head["moment"]]
                    yield answer

    def _text(self, text):
        message = json.loads(text)
        if message.get("type") == "refused":
            raise InputError(message["why"])
        return message
