"""Benchmark of `drive` from video file to film: the whole chain, and each stage alone.

    python -m scripts.benchmark drive
    python -m scripts.benchmark drive --option=driver=clip.mp4 --option=server=HOST:PORT \\
        --option=person=ann

The default driver is scikit-image's portrait in motion, 512 px; the default avatar is made of the
same portrait with the shipped guided weights and served by `scripts.serve` in a process of its own.
Loading models is not counted.
"""

import contextlib
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import cv2
import numpy as np

from serving.client import AvatarClient
from tf_talkinghead.config import PreparationConfig
from tf_talkinghead.data import video
from tf_talkinghead.driving import driver, film
from tf_talkinghead.driving.retargeting import AvatarFace, on_avatar
from tf_talkinghead.errors import InputError
from tf_talkinghead.export.workflow import make_person

OPTIONS = {
    "driver": "a video; default: a portrait that moves, 512 px",
    "server": "HOST:PORT of a running server, instead of one of its own",
    "person": "name of the avatar on that server",
    "rows": "frames of one request, default 4",
    "frames": "of the default driver, default 200",
    "rounds": "whole films, of which the median counts, default 3",
}
PERSON = "someone"


def run(_preset_name, options):
    """Measures the chain; returns {figure: number}, names include the units."""
    if ("server" in options) != ("person" in options):
        raise InputError("--option=server and --option=person go together")
    rows, rounds = int(options.get("rows", 4)), int(options.get("rounds", 3))
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        folder = pathlib.Path(folder)
        clip = options.get("driver") or _moving_portrait(folder, int(options.get("frames", 200)))
        address = options.get("server") or stack.enter_context(_served(folder, clip))
        client = AvatarClient(address, options.get("person", PERSON))
        stack.enter_context(client)
        face = AvatarFace.of(client.card())
        stream = lambda points: client.stream(points, rows)
        client.render(face.points[None])  # the first call of a model takes longer

        def whole():
            motion = driver.read_driver(clip, PreparationConfig(), progress=False, gaze=face.gaze)
            points = on_avatar(motion, face)
            film.film(points, stream, folder / "out.mp4", motion.fps, progress=False)
            return motion, points

        motion, points = whole()
        seconds = float(np.median([_timed(whole) for _ in range(rounds)]))
        frames = len(points)
        figures = {"driver_frames": frames, "frames_per_second": frames / seconds}
        for name, stage in _stages(clip, motion, face, points, stream, folder).items():
            figures[f"{name}_ms"] = 1e3 * _timed(stage) / frames
        alone = sum(value for name, value in figures.items() if name.endswith("_ms"))
        for name in [name for name in figures if name.endswith("_ms")]:
            figures[f"{name.removesuffix('_ms')}_share"] = figures[name] / alone
        figures["whole_ms"] = 1e3 * seconds / frames
        return figures


def _stages(clip, motion, face, points, stream, folder):
    """Name -> function that runs one stage of the chain over the whole clip, alone."""
    pictures = list(video.read_video(clip).frames)
    rendered = list(stream(points))

    def landmarks():
        tracked = driver.track(pictures, None, PreparationConfig().detect_every, face.gaze)
        assert tracked[0].frames == len(pictures)

    return {
        "decode": lambda: sum(1 for _ in video.read_video(clip).frames),
        "landmarks": landmarks,
        "retarget": lambda: on_avatar(motion, face),
        "render": lambda: sum(1 for _ in stream(points)),
        "encode": lambda: video.write_video(folder / "stage.mp4", rendered, motion.fps),
    }


def _timed(work):
    started = time.monotonic()
    work()
    return time.monotonic() - started


def _moving_portrait(folder, frames):
    """A film of the portrait turning, growing and moving in its plane, 512 px, 25 a second."""
    from skimage import data

    portrait, path = data.astronaut(), folder / "driver.mp4"

    def moved(t):
        angle, scale = 6 * np.sin(t / 13), 1.3 + 0.1 * np.sin(t / 31)
        matrix = cv2.getRotationMatrix2D((224, 130), angle, scale)
        matrix[:, 2] += (32 + 10 * np.sin(t / 17), 120)
        return cv2.warpAffine(portrait, matrix, (512, 512), borderMode=cv2.BORDER_REPLICATE)

    video.write_video(path, (moved(t) for t in range(frames)), 25)
    return path


@contextlib.contextmanager
def _served(folder, clip):
    """The address of an embedded server with an avatar of the clip's first person."""
    make_person("guided", PERSON, [str(clip)], folder / "models", shots=1, progress=False)
    command = [sys.executable, "-m", "scripts.serve", f"--models={folder / 'models'}", "--port=0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        for line in server.stdout:
            if match := re.match(r"listening on (\S+)", line):
                yield match[1]
                return
        raise InputError("the server did not start: see the message above")
    finally:
        server.terminate()
        server.wait()
