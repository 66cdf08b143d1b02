"""scripts.drive against an exported avatar on the embedded server: a film, a refusal, or a clean
early end.
"""

import json
import re
import subprocess
import sys
import time

import av
import cv2
import numpy as np
import pytest

from serving.server import AvatarServer, ServerOptions
from tests.random_avatars import random_avatar
from tests.script_runner import ROOT, run_script
from tf_talkinghead.data import video
from tf_talkinghead.export.saved_model import export_person


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    avatar, _ = random_avatar("tiny")
    export_person(avatar, folder, "collins")
    return folder


def serve(models):
    server = AvatarServer(ServerOptions(models=str(models), port=0, host="localhost"))
    server.start()
    return server, f"--server=localhost:{server.port}"


@pytest.fixture(scope="module")
def driver(portrait, tmp_path_factory):
    """The portrait moving, 8 frames at 10 a second."""
    path = tmp_path_factory.mktemp("driver") / "driver.mp4"
    small = [
        cv2.warpAffine(portrait, np.float32([[0.6, 0, 2 * t], [0, 0.6, 0]]), (320, 300))
        for t in range(8)
    ]
    video.write_video(path, small, 10)
    return path


def test_films_and_refusals(models, driver, tmp_path):
    """Every way to drive and every flag that cannot be, in one process."""
    server, address = serve(models)
    person = [address, "--person=collins"]
    (tmp_path / "wall.png").write_bytes(
        cv2.imencode(".png", np.full((99, 99, 3), 90, np.uint8))[1].tobytes()
    )
    output = f"--output={tmp_path}/a.mp4"
    refusals = {
        "--output=": [*person, "--driver=scripted", f"--output={tmp_path}/a.avi"],
        "no such file": [*person, f"--driver={tmp_path}/none.mp4", f"--output={tmp_path}/a.mp4"],
        "--side_by_side needs": [*person, "--driver=scripted", "--side_by_side", output],
        "wall.png: no face found": [*person, f"--driver={tmp_path}/wall.png", output],
        "not served there": [address, "--person=nobody", "--driver=scripted", output],
        "is the server running": ["--server=localhost:1", "--timeout=0.5", "--person=collins",
                                  "--driver=scripted", output],
        "--adapt": [*person, "--driver=scripted", "--adapt=both", f"--output={tmp_path}/a.mp4"],
        "unexpected argument": [*person, "--driver=scripted", f"--output={tmp_path}/a.mp4", "more"],
        "--person": ["--driver=scripted", f"--output={tmp_path}/a.mp4"],
    }  # fmt: skip
    scripted, beside, helped, *refused = run_script(
        "drive",
        [*person, "--driver=scripted", "--fps=4", f"--output={tmp_path}/scripted.mp4"],
        [
            *person,
            f"--driver={driver}",
            "--side_by_side",
            "--adapt=none",
            f"--output={tmp_path}/new/beside.mp4",
        ],
        ["--help"],
        *refusals.values(),
    )
    server.stop()
    assert scripted.code == 0, scripted.stderr
    report = json.loads(scripted.stdout.splitlines()[-1])
    assert (report["frames"], report["fps"], report["faceless_frames"], report["complete"]) == (
        32,
        4.0,
        0,
        True,
    )
    assert frames_of(tmp_path / "scripted.mp4") == (32, 32, 32)
    assert beside.code == 0, beside.stderr
    assert json.loads(beside.stdout.splitlines()[-1])["frames"] == 8
    assert frames_of(tmp_path / "new/beside.mp4") == (8, 64, 32)
    assert (
        helped.code == 0
        and "--driver" in helped.stdout
        and "python -m scripts.drive" in helped.stdout
    )
    for message, result in zip(refusals, refused, strict=True):
        last = result.stderr.strip().splitlines()[-1]
        assert result.code == 1 and last.startswith("error: ") and message in last, (
            message,
            result,
        )
        assert "Traceback" not in result.stderr
    assert not (tmp_path / "a.mp4").exists()


def test_a_server_that_dies_half_way_leaves_a_film_that_plays(models, tmp_path):
    server, address = serve(models)
    command = [sys.executable, "-m", "scripts.drive", address, "--person=collins",
               "--driver=scripted", "--fps=120", "--timeout=1",
               f"--output={tmp_path}/out.mp4"]  # fmt: skip
    process = started_rendering(command)
    server.stop(0)
    stdout, stderr = process.communicate(timeout=60)
    report = json.loads(stdout.splitlines()[-1])
    assert (
        process.returncode == 1
        and not report["complete"]
        and 0 < report["frames"] < report["wanted"] == 960
    )
    assert (
        stderr.strip()
        .splitlines()[-1]
        .startswith(f"error: the film ends after {report['frames']} of 960 frames")
    )
    assert frames_of(tmp_path / "out.mp4")[0] == report["frames"]


def test_a_server_that_comes_back_in_time_is_not_noticed(models, tmp_path):
    """The same port is served again within --timeout: the film is whole."""
    server, address = serve(models)
    port = server.port
    command = [sys.executable, "-m", "scripts.drive", address, "--person=collins",
               "--driver=scripted", "--fps=50", "--timeout=30",
               f"--output={tmp_path}/out.mp4"]  # fmt: skip
    process = started_rendering(command)
    server.stop(5)  # as SIGTERM does: calls under way are answered, others are to come again
    time.sleep(0.5)
    again = AvatarServer(ServerOptions(models=str(models), port=port, host="localhost"))
    again.start()
    stdout, stderr = process.communicate(timeout=100)
    again.stop(0)
    assert process.returncode == 0, stderr
    assert (
        json.loads(stdout.splitlines()[-1])["frames"] == 400 == frames_of(tmp_path / "out.mp4")[0]
    )


def started_rendering(command):
    """The process, once its progress line counts a frame."""
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    seen = ""
    while not re.search(r"rendering: .*\| [1-9]\d*/", seen) and process.poll() is None:
        seen += process.stderr.read(1)
    return process


def frames_of(path):
    """(frames, width, height) of an H.264 film."""
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        assert stream.codec_context.name == "h264"
        return sum(1 for _ in film.decode(stream)), stream.width, stream.height
