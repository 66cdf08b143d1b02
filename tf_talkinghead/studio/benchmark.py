"""Benchmark of the studio: live driving by a plain WebSocket client and by a page in Chromium.

    python -m scripts.benchmark studio
    python -m scripts.benchmark studio --option=seconds=1200 --option=browser=no   # memory growth

The driver is scikit-image's portrait in motion, 448 x 336 px as the page sends it; the avatar is
made of the same portrait with the shipped guided weights. Everything runs on this machine, the
browser too. Figures are medians after the first seconds. Without Chromium the page's figures are
left out.
"""

import contextlib
import pathlib
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator

import cv2
import numpy as np

from tf_talkinghead.driving.scripted_motion import scripted_motion
from tf_talkinghead.errors import InputError
from tf_talkinghead.faces import cropping, landmarks
from tf_talkinghead.faces.warping import warp
from tf_talkinghead.studio.chromium import Chromium
from tf_talkinghead.studio.live_client import LiveClient
from tf_talkinghead.studio.maker import Maker
from tf_talkinghead.studio.server import running
from tf_talkinghead.studio.studio import StudioOptions

OPTIONS = {
    "seconds": "of each measurement, default 20",
    "browser": "no: without Chromium",
    "in_flight": "unanswered frames of the WebSocket client, default 3",
}
PERSON = "someone"
_WARM_SECONDS = 4.0  # at the beginning of each measurement, not counted
_WIDTH, _HEIGHT, _FRAMES = 448, 336, 125
_SLIDERS = 40  # positions of the slider measurement


def run(_preset_name, options):
    """Measures the studio; returns {figure: number}, names include the units."""
    seconds, in_flight = float(options.get("seconds", 20)), int(options.get("in_flight", 3))
    if seconds < 1 or in_flight < 1:
        raise InputError("seconds and in_flight: expected 1 or more")
    pictures = driver_pictures()
    jpegs = [_jpeg(picture, 80) for picture in pictures]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        folder = pathlib.Path(folder)
        _make(folder)
        started = stack.enter_context(running(StudioOptions(str(folder / "models"))))
        address = started.address.replace("http", "ws", 1) + f"api/live/{PERSON}"
        figures = _by_socket(address, jpegs, seconds, in_flight)
        if options.get("browser") == "no":
            return figures
        camera = folder / "camera.mjpeg"
        camera.write_bytes(b"".join(_jpeg(picture, 90) for picture in pictures))
        try:
            browser = Chromium(folder, camera, width=1440, height=1000)
        except InputError as error:
            return figures | {"chromium": str(error)}
        return figures | _by_page(stack.enter_context(browser), started.address, seconds)


def driver_pictures() -> np.ndarray:
    """The portrait turning, nodding, blinking and talking, uint8 [T, 336, 448, 3]."""
    from skimage import data

    portrait = data.astronaut()
    (face,) = landmarks.DlibLandmarks().detect(portrait)
    box = cropping.CropBox(x=112, y=0, side=288)
    points = cropping.to_fractions(face.points, box)
    square = cropping.crop(portrait, box, _HEIGHT)
    pictures = np.full((_FRAMES, _HEIGHT, _WIDTH, 3), 128, np.uint8)
    left = (_WIDTH - _HEIGHT) // 2
    for picture, moved in zip(pictures, scripted_motion(points, frames=_FRAMES)):
        picture[:, left : left + _HEIGHT] = warp(square, points, moved)
    return pictures


def _make(folder):
    from skimage import data

    photo = folder / "photo.png"
    cv2.imwrite(str(photo), data.astronaut()[..., ::-1])
    with Maker() as maker:
        maker.make("guided", PERSON, [photo], folder / "models", None)


def _by_socket(address, jpegs, seconds, in_flight):
    """Figures of a WebSocket client that always has `in_flight` unanswered frames."""
    moments, delays, began = [], [], time.monotonic()
    memory = []
    with LiveClient(address) as client, _memory_of(memory):
        client.camera(True)
        frames = client.drive(_endless(jpegs), in_flight)
        for answer in frames:
            now = time.monotonic()
            if now - began > _WARM_SECONDS + seconds:
                break
            if now - began > _WARM_SECONDS:
                moments.append(now)
                delays.append(1e3 * now - answer.head["moment"])
        dropped = answer.head["dropped"]
    half = len(memory) // 2
    return {
        "socket_frames_per_second": len(moments) / seconds,
        "socket_delay_ms": statistics.median(delays),
        "socket_dropped": dropped,
        "studio_memory_mb": memory[-1],
        "studio_memory_growth_mb": memory[-1] - memory[min(half, len(memory) - 1)],
    }


def _by_page(browser, address, seconds):
    """Figures of the page: first with a slider alone, then with a camera."""
    browser.look(1440, 1000)
    browser.visit(address)
    browser.wait("window.studio?.live.measured.frames > 0")
    slider = {}
    for step in range(_SLIDERS):
        browser.evaluate(
            "(() => { const input = document.getElementById('slider-yaw');"
            f" input.value = {step % 20 - 10}; input.dispatchEvent(new Event('input')); }})()"
        )
        browser.wait("window.studio.live.poses.size === 0")
    slider["page_slider_ms"] = browser.evaluate("window.studio.live.measured.reaction")
    browser.click("#camera")
    browser.wait("window.studio.live.measured.seen === true")
    time.sleep(_WARM_SECONDS)
    before, began = browser.evaluate("window.studio.live.frames"), time.monotonic()
    delays = []
    while time.monotonic() - began < seconds:
        time.sleep(1.0)
        delays.append(browser.evaluate("window.studio.live.measured.delay"))
    frames = browser.evaluate("window.studio.live.frames") - before
    return {
        "page_frames_per_second": frames / (time.monotonic() - began),
        "page_delay_ms": statistics.median(delays),
        **slider,
    }


def _jpeg(picture, quality):
    return cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[
        1
    ].tobytes()


def _endless(items) -> Iterator:
    while True:
        yield from items


@contextlib.contextmanager
def _memory_of(found: list):
    """Fills `found` with this process's resident megabytes, one for each second."""
    stop = threading.Event()

    def look():
        while True:
            status = pathlib.Path("/proc/self/status").read_text()
            (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
            found.append(int(line.split()[1]) / 1024)
            if stop.wait(1.0):
                return

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
