"""Runs the commands of the documentation that are marked as run, in one working folder.

Every person in it is the bundled portrait. What a page names (`clip.mp4`, `photos/ann`,
`VoxCeleb2/...`) is made first; port 8500 is replaced by a free one; `quickstart.sh` is run without
its installation; a `serve` is stopped once it listens, and another server stays for the rest.
"""

import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import wave

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.doc_blocks import PAGES, ROOT, blocks_of
from tests.face_footage import write_face

pytestmark = pytest.mark.slow
LAST = ("personalisation.md",)  # it removes the person that the others drive
TO_RUN = {
    str(page.relative_to(ROOT)): [block for block in blocks_of(page) if block.how == "run"]
    for page in sorted(PAGES, key=lambda page: page.name in LAST)
}
SECONDS = 300  # the longest a command may take


class Workshop:
    """A folder with what the pages name, and a server of its avatars."""

    def __init__(self, folder, portrait):
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        paths = [str(pathlib.Path(sys.executable).parent), os.environ["PATH"]]
        self.environment = {
            **os.environ,
            "PATH": os.pathsep.join(paths),
            "PYTHONPATH": str(ROOT),
            "TF_CPP_MIN_LOG_LEVEL": "2",
        }
        _materials(folder, portrait)
        for person in ("ann", "collins"):
            self.shell(
                f"python -m scripts.personalize --weights=guided --person={person} "
                "--images=photos/ann --models=avatars"
            )

    def shell(self, command):
        """Runs a shell command to its end; it must succeed."""
        command = self._here(command)
        if "-m scripts.serve" in command and "--write_config_only" not in command:
            self.serve(re.sub(r"--port=\d+", "", command)).terminate()
            return
        done = self._run(["bash", "-c", command])
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"

    def python(self, text):
        """Runs a Python block; it must succeed."""
        done = self._run([sys.executable, "-c", self._here(text)])
        assert done.returncode == 0, f"{text}\n{done.stderr[-4000:]}"

    def serve(self, command):
        """A server that listens, on the workshop's port or on any."""
        port = "" if "--port" in command else " --port=0"
        server = subprocess.Popen(
            ["bash", "-c", f"exec {command}{port}"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for line in server.stdout:
            if "listening on" in line:
                return server
        raise AssertionError(f"{command}: ended with {server.wait()} before it listened")

    def _here(self, text):
        text = text.replace("bash scripts/quickstart.sh", "python -m scripts.quickstart")
        return text.replace("localhost:8500", f"localhost:{self.port}")

    def _run(self, command):
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )


def _materials(folder, portrait):
    """Photos, films, numbers and sound under the names that the pages use."""
    head = portrait[0:290, 80:370]
    for name in ("me1.jpg", "me2.jpg", "ann/1.jpg", "photos/ann/1.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture = cv2.flip(head, 1) if "2" in name else head
        Image.fromarray(picture).save(folder / name, quality=95)
    films = {
        "clip.mp4": 40,
        "VIDEOS/ann/1.mp4": 24,
        "VIDEOS/bob/1.mp4": 24,
        "VoxCeleb2/dev/mp4/id00012/21Uxsk56VDQ/00001.mp4": 24,
        "VoxCeleb2/dev/mp4/id00015/0fijmz4vTVU/00001.mp4": 24,
        "VoxCeleb2/dev/mp4/id00016/7SPwAa5pKZo/00001.mp4": 24,
        "VoxCeleb2/test/mp4/id00017/01dfn2spqyE/00001.mp4": 40,
        "clips/ann/1.mp4": 40,
    }
    for seed, (name, frames) in enumerate(films.items()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_face(folder / name, portrait, frames, size=256, seed=seed)
    shutil.copytree(ROOT / "docs" / "pictures", folder / "docs" / "pictures")
    (folder / "talk.csv").write_text("time,jaw,yaw\n0,0,0\n0.5,0.2,8\n1,0,0\n")
    with wave.open(str(folder / "voice.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        sound = np.sin(np.arange(16_000) / 20) * np.linspace(0, 9000, 16_000)
        file.writeframes(np.int16(sound).tobytes())


MARKED = """
from serving.client import AvatarClient
with AvatarClient("localhost:8500", "ann") as avatar:
    points = avatar.card()["reference_landmarks"]
    open("photo.jpg", "wb").write(avatar.jpegs([points])[0])
"""


@pytest.fixture(scope="module")
def workshop(tmp_path_factory, portrait):
    made = Workshop(tmp_path_factory.mktemp("workshop"), portrait)
    server = made.serve(f"python -m scripts.serve --models=avatars --port={made.port}")
    try:
        made.shell(
            "python -m scripts.drive --server=localhost:8500 --person=ann --expression=talk.csv "
            "--output=film.mp4"
        )
        shutil.copy(made.folder / "film.mp4", made.folder / "upload.mp4")
        made.python(MARKED)
        yield made
    finally:
        server.terminate()
        server.wait()


@pytest.mark.parametrize("page", [name for name, blocks in TO_RUN.items() if blocks])
def test_the_commands_of(page, workshop):
    for block in TO_RUN[page]:
        print(block.place)
        if block.language == "python":
            workshop.python(block.text)
        else:
            for command in block.commands_to_run():
                print("   ", command)
                workshop.shell(command)


def test_a_command_that_fails_fails(workshop):
    with pytest.raises(AssertionError, match="no such file"):
        workshop.shell("python -m scripts.verify nothing.mp4")
    with pytest.raises(AssertionError, match="ended with"):
        workshop.shell("python -m scripts.serve --models=nowhere")
