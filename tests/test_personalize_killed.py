"""kill -9 at any moment of `scripts.personalize`: nothing half-made is ever visible, and
the same command finishes.
"""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import tensorflow as tf
from PIL import Image

from tests.random_avatars import random_generator
from tf_talkinghead.export import store
from tf_talkinghead.weights.store import empty, save_trained

STEPS = 60
# What is on disk at the moment of the kill: under the work folder, or beside the versions.
MOMENTS = {
    "crops kept": ".work/ann/inputs.npz",
    "first snapshot": ".work/ann/training/step-*",
    "avatar kept": ".work/ann/avatar.json",
    "previews": ".work/ann/preview.mp4",
    "publishing": ".publishing-ann-*",
    "published": "ann/1",
}


@pytest.fixture(scope="module")
def weights(tiny, tmp_path_factory):
    trained = empty(tiny)
    trained.generator.set_weights(random_generator(tiny).get_weights())
    return save_trained(trained, tmp_path_factory.mktemp("weights"))


def _command(weights, photo, models):
    return [
        sys.executable, "-m", "scripts.personalize", f"--weights={weights}", "--person=ann",
        f"--images={photo}", f"--models={models}", f"--steps={STEPS}",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_any_moment(weights, portrait, tmp_path, moment):
    photo, models = tmp_path / "photo.png", tmp_path / "models"
    Image.fromarray(portrait).save(photo)
    command = _command(weights, photo, models)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not list(models.glob(MOMENTS[moment])):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    seen = store.versions(models, "ann") if (models / "ann").exists() else []
    # the rename may come before the kill
    allowed = {"published": [[1]], "publishing": [[], [1]]}.get(moment, [[]])
    assert seen in allowed
    visible = [path.name for path in models.iterdir() if not path.name.startswith(".")]
    assert set(visible) <= {"ann"}
    for version in seen:
        tf.saved_model.load(str(models / "ann" / str(version)))
    begun = sorted(path.name for path in (models / ".work" / "ann").glob("training/step-*"))

    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    newest = store.versions(models, "ann")[-1]
    assert newest == len(seen) + 1
    card = json.loads((models / "ann" / str(newest) / "card.json").read_text())
    assert card["steps"] == STEPS
    assert not list(models.glob(".publishing-*"))
    tf.saved_model.load(str(models / "ann" / str(newest)))
    # it went on from the snapshot: the first step its progress shows is not the first of all
    if begun:
        step = int(begun[-1].split("-")[1])
        shown = [
            int(part.split("/")[0].split()[-1])
            for part in done.stderr.split("\r")
            if f"/{STEPS} [" in part
        ]
        assert step > 0 and (not shown or min(shown) >= step)
        assert shown or step == STEPS
