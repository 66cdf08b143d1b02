"""Two small commands for tests of kills.py: one writes atomically, one does not."""

import json
import pathlib
import time

from tf_talkinghead.files import write_atomically

VERSIONS = 4
CONTENT = {"value": "x" * 4000}


def write(folder, atomically):
    """Writes `VERSIONS` JSON files into `folder`, each in two halves unless `atomically`."""
    for version in range(VERSIONS):
        path = pathlib.Path(folder) / f"{version}.json"
        text = json.dumps({**CONTENT, "version": version})
        if atomically:
            write_atomically(path, text.encode())
            time.sleep(0.005)
            continue
        with open(path, "w") as file:
            for half in (text[:2000], text[2000:]):
                file.write(half)
                file.flush()
                time.sleep(0.005)
        time.sleep(0.005)
    time.sleep(0.3)  # a signal right after the last change, and late, must still find the process


def check(_server, folder, done):
    """What is wrong with the files in `folder`, or "": every visible one must be complete."""
    paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    for path in paths:
        try:
            json.loads(path.read_text())
        except ValueError as error:
            return f"{path.name}: {error}"
    return f"{len(paths)} of {VERSIONS} files" if done and len(paths) < VERSIONS else ""
