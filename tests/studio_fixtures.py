"""A running studio and its visitors, for the studio's tests."""

import contextlib
import io
import json
import struct
import time
import urllib.error
import urllib.request
import wave

import cv2
import numpy as np
import PIL.Image
import pytest
from websockets.sync.client import connect

from tests.moving_portrait import clip
from tests.random_avatars import random_guided_avatar
from tests.serving_fixtures import serving
from tf_talkinghead.export.saved_model import export_person
from tf_talkinghead.studio.maker import Maker
from tf_talkinghead.studio.security import Access
from tf_talkinghead.studio.server import running
from tf_talkinghead.studio.session import FRAME, FRAME_HEAD
from tf_talkinghead.studio.studio import StudioOptions


@contextlib.contextmanager
def open_studio(models, **access):
    """A studio on a folder of avatars, served in this process; it cannot make new avatars."""
    options = StudioOptions(str(models), access=Access(**access))
    with (
        pytest.MonkeyPatch.context() as patch,
        serving(models=str(models)) as server,
        running(options, server=f"localhost:{server.port}") as started,
    ):
        patch.setattr(Maker, "warm", lambda maker: None)  # no process that loads TensorFlow
        yield Visitor(started)


def publish_ann(models):
    """Publishes ann, a guided avatar with random weights; returns `models`."""
    export_person(random_guided_avatar(), models, "ann")
    return models


class Visitor:
    """Plain requests to a running studio."""

    def __init__(self, started):
        self.started, self.studio = started, started.studio
        self.address = started.address.rstrip("/")

    def ask(self, method, path, content=None, **headers):
        """(status, answer, headers) of a request; an answer in JSON is parsed."""
        if isinstance(content, dict):
            content = json.dumps(content).encode()
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(
            self.address + path, data=content, method=method, headers=headers
        )
        try:
            with urllib.request.build_opener(_NoRedirect).open(request, timeout=60) as answer:
                return self._read(answer)
        except urllib.error.HTTPError as error:
            return self._read(error)

    def _read(self, answer):
        content, headers = answer.read(), answer.headers
        if headers.get_content_type() == "application/json":
            content = json.loads(content)
        return answer.status, content, headers

    def refused(self, *request, **headers):
        """Makes a request that must be refused; returns the one line of the refusal."""
        status, answer, _ = self.ask(*request, **headers)
        assert 400 <= status < 500, (status, answer)
        assert "\n" not in answer["error"] and "--" not in answer["error"]
        return answer["error"]

    def finished(self, job, seconds=120):
        """Waits for the end of a job; returns its dict."""
        end = time.monotonic() + seconds
        while True:
            _, found, _ = self.ask("GET", f"/api/jobs/{job}")
            if found["state"] not in ("waiting", "running"):
                return found
            assert time.monotonic() < end, found
            time.sleep(0.05)

    @contextlib.contextmanager
    def live(self, person, **headers):
        """Opens a live session; yields its `Tab`."""
        with self.socket(f"/api/live/{person}", **headers) as socket:
            yield Tab(socket)

    def socket(self, path, **headers):
        address = self.address.replace("http", "ws", 1) + path
        return connect(
            address, additional_headers=headers, compression=None, max_size=None, proxy=None
        )


class Tab:
    """The page's side of a live session."""

    def __init__(self, socket):
        self.socket = socket
        self.hello = json.loads(socket.recv(timeout=60))

    def send(self, **message):
        self.socket.send(json.dumps(message))

    def frame(self, moment, jpeg):
        """Sends a camera frame, a JPEG taken at `moment` in milliseconds."""
        self.socket.send(FRAME_HEAD.pack(moment).replace(b"\0", bytes([FRAME]), 1) + jpeg)

    def answer(self, timeout=60):
        """(head, JPEG) of the next frame, or (message, None) of the next text."""
        message = self.socket.recv(timeout=timeout)
        if isinstance(message, str):
            return json.loads(message), None
        (length,) = struct.unpack_from("<I", message)
        return json.loads(message[4 : 4 + length]), message[4 + length :]

    def posed(self, tag, **settings):
        """The picture that shows a pose, uint8 [H, W, 3]."""
        self.send(type="pose", tag=tag, **settings)
        while True:
            head, jpeg = self.answer()
            if head.get("tag") == tag and jpeg:
                return np.asarray(PIL.Image.open(io.BytesIO(jpeg)).convert("RGB"))


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments):
        return None


def camera_pictures(frames=60, side=160):
    """The moving portrait in the middle of a grey picture, uint8 [T, 240, 320, 3]."""
    moving = clip(frames, side).images
    pictures = np.full((frames, 240, 320, 3), 128, np.uint8)
    pictures[:, 40 : 40 + side, 80 : 80 + side] = moving
    return pictures


def as_jpeg(picture, quality=90):
    return cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[
        1
    ].tobytes()


def as_png(picture):
    buffer = io.BytesIO()
    PIL.Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def write_camera(path, pictures):
    """Writes pictures as an MJPEG file, which Chromium presents as a camera."""
    path.write_bytes(b"".join(as_jpeg(picture) for picture in pictures))
    return path


def write_sound(path, samples, rate=48_000):
    """Writes samples from -1 to 1 as a WAV file."""
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path
