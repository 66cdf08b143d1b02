"""kill -9 of `scripts.export` before each change it makes on disk, and the same command again.

The process kills itself by an audit hook, so that no moment is left to luck: the first run dies
before its first change, the second before its second, and so on until one comes through.
"""

import json
import os
import shutil
import subprocess
import sys

import pytest
import tensorflow as tf

from tests.made_models import make_models
from tf_talkinghead.export import store
from tf_talkinghead.export.bank_files import read_members

HOOK = """
import os, signal, sys
left, models = int(os.environ["KILLED_AT"]), os.environ["KILLED_IN"]
writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT

def hook(event, arguments):
    global left
    if event not in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod"):
        return
    if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & writing):
        return
    if event in ("open", "os.mkdir", "os.rename") and models not in str(arguments[0]):
        return
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(hook)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(weights, models) of `make_models`."""
    return make_models(tmp_path_factory.mktemp("made"))


def _run(arguments, models, hooks, moment):
    environment = {
        **os.environ,
        "PYTHONPATH": str(hooks),
        "KILLED_AT": str(moment),
        "KILLED_IN": str(models),
    }
    command = [sys.executable, "-m", "scripts.export", f"--models={models}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def _visible(models):
    """What a server finds now, every version loaded: versions by name, people by bank version."""
    seen = {
        path.name for path in models.iterdir() if path.is_dir() and not path.name.startswith(".")
    }
    versions = {name: store.versions(models, name) for name in sorted(seen)}
    people = {}
    for name, numbers in versions.items():
        for number in numbers:
            folder = models / name / str(number)
            tf.saved_model.load(str(folder))
            json.loads((folder / "card.json").read_text())
            if name == "bank":
                members = read_members(folder / "vectors.npz")
                assert members.version == number and members.vectors.keys() == members.cards.keys()
                people[number] = sorted(members.vectors)
    return versions, people


@pytest.mark.slow
@pytest.mark.parametrize("what", ["person", "bank", "delete"])
def test_killed_before_each_change(made, tmp_path, what):
    weights, original = made
    arguments = {
        "person": ["--person=ann"],
        "bank": ["--bank", f"--weights={weights}"],
        "delete": ["--delete=ann"],
    }[what]
    both = ["ann", "bob"]
    before = {"ann": [1], "bank": [1, 2], "bob": [1]}, {1: both, 2: both}
    gone = {"bank": [1, 2], "bob": [1]}
    after = {
        "person": ({**before[0], "ann": [1, 2]}, before[1]),
        "bank": ({**before[0], "bank": [1, 2, 3]}, {**before[1], 3: both}),
        "delete": (gone, {1: ["bob"], 2: ["bob"]}),
    }[what]
    # The bank's versions lose her one after the other, the newest first.
    between = [(gone, before[1]), (gone, {1: both, 2: ["bob"]})] if what == "delete" else []
    (tmp_path / "sitecustomize.py").write_text(HOOK)
    for moment in range(1, 200):
        models = tmp_path / f"models{moment}"
        shutil.copytree(original, models, symlinks=True)
        killed = _run(arguments, models, tmp_path, moment)
        seen = _visible(models)
        assert seen in (before, *between, after), moment
        if killed.returncode == 0:
            assert seen == after
            break
        assert killed.returncode == -9, killed.stderr
        again = _run(arguments, models, tmp_path, -1)
        if what == "delete" and seen == after:  # at its very end
            assert again.returncode == 0 or "nobody of that name" in again.stderr
        else:
            assert again.returncode == 0, again.stderr
        versions, people = _visible(models)
        assert versions.keys() == after[0].keys()
        assert all(names == after[1][2] for names in people.values())
        assert not list(models.glob(".publishing-*")) and not list(models.glob(".deleted-*"))
        if what == "delete":
            assert not [path for path in models.rglob("*") if path.name.startswith("ann")]
            assert not list(models.rglob(".vectors.npz*"))
            for path in models.rglob("vectors.npz"):
                assert b"ann" not in path.read_bytes()
            assert '"ann"' not in (models / store.CONFIG_FILE).read_text()
        shutil.rmtree(models)
    assert killed.returncode == 0 and moment > 8
