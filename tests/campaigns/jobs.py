"""The jobs that forks of `fork_server` run: scripts, and checks that need TensorFlow.

A check prints what is wrong, and nothing where all is well.
"""

import importlib
import itertools
import json
import pathlib
import shutil
import sys
import time

# What a fork server imports for these jobs.
PRELOAD = (
    "tensorflow",
    "apache_beam",
    "tf_talkinghead.data.prepare",
    "tf_talkinghead.data.dataset",
    "tf_talkinghead.data.preview",
    "tf_talkinghead.export.bank_workflow",
    "tf_talkinghead.export.workflow",
    "tf_talkinghead.training.run",
    "tensorflow_serving.apis.prediction_log_pb2",
)


def script(name, arguments):
    """Runs what `python -m scripts.NAME ARGUMENTS` runs; exits with its code."""
    from scripts import command

    module = importlib.import_module(f"scripts.{name}")
    sys.argv = [f"scripts.{name}", *arguments]
    command.run(module.main)


def lay(function, *arguments):
    """Calls `function`, "module:name", with `arguments`: for inputs that need TensorFlow."""
    module, _, name = function.partition(":")
    getattr(importlib.import_module(module), name)(*arguments)


def check_models(models, expected):
    """Loads every version below `models` and renders it; prints what is wrong.

    Args:
      models: folder of all models.
      expected: file of `render_models`; names that it holds must give its pictures.
    """
    import numpy as np

    with np.load(expected) as stored:
        pictures = {name: stored[name] for name in stored.files}
    for name, frame in render_models(models).items():
        person = name.rpartition("/")[0]
        if frame.std() == 0:
            print(f"{name} renders a plain picture")
        if person in pictures:
            off = int(np.abs(frame.astype(int) - pictures[person].astype(int)).max())
            if off > 1:
                print(f"{name}: a picture {off} levels from the right one")


def render_models(models):
    """{"NAME/VERSION": frame uint8 [H, W, 3]} of every version; "bank:NAME/VERSION" of members."""
    import tensorflow as tf

    from tests.face_points import COLLINS
    from tf_talkinghead.export.bank_files import read_members

    frames = {}
    for folder in sorted(pathlib.Path(models).glob("[!.]*/[0-9]*")):
        signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
        landmarks = tf.constant(COLLINS[None])
        card = json.loads((folder / "card.json").read_text())
        if folder.parent.name != "bank":
            assert card["person"] == folder.parent.name
            frames[f"{folder.parent.name}/{folder.name}"] = signature(landmarks=landmarks)["frames"]
            continue
        members = read_members(folder / "vectors.npz")
        assert (
            members.version == int(folder.name) and members.vectors.keys() == members.cards.keys()
        )
        for name, vector in members.vectors.items():
            answer = signature(landmarks=landmarks, person=tf.constant(vector[None]))
            frames[f"bank:{name}/{folder.name}"] = answer["frames"]
    return {name: frame[0].numpy() for name, frame in frames.items()}


def check_dataset(folder):
    """Reads every record of a finished dataset; prints what is wrong."""
    from tf_talkinghead.data.dataset import load_dataset

    for record in load_dataset(folder).records():
        frames = record.images()
        if len(frames) != len(record.landmarks) or frames.std() == 0:
            print(f"{record.clip}: {len(frames)} frames, {len(record.landmarks)} landmarks")


def check_snapshots(run):
    """Loads the newest snapshot of a run of meta_train; an exception says what is wrong."""
    from tf_talkinghead.training.checkpoints import Checkpoints

    checkpoints = Checkpoints(pathlib.Path(run) / "checkpoints")
    for step in checkpoints.steps()[-1:]:
        checkpoints.load(step)


def check_damaged(models, expected):
    """Like `check_models`, but a version that cannot be loaded is no fault; a crash is one."""
    import tensorflow as tf

    from tf_talkinghead.errors import TalkingHeadError
    from tf_talkinghead.export import store

    refused = (OSError, ValueError, KeyError, RuntimeError, TalkingHeadError, tf.errors.OpError)
    for folder in sorted(pathlib.Path(models).glob("[!.]*/[0-9]*")):
        only = pathlib.Path(f"{models}-one")
        shutil.rmtree(only, ignore_errors=True)
        shutil.copytree(folder, only / folder.parent.name / folder.name)
        try:
            store.check_digests(folder)  # as the embedded server does
            check_models(only, expected)
        except refused as error:
            print(f"{folder}: {str(error)[:100]}", file=sys.stderr)


def expect(models, expected, more):
    """Writes pictures of all versions in `models`, and those in the file `more`, to `expected`."""
    import numpy as np

    frames = {name.rpartition("/")[0]: frame for name, frame in render_models(models).items()}
    with np.load(more) as stored:
        np.savez(expected, **{name: stored[name] for name in stored.files}, **frames)


def with_jumping_clock(name, arguments):
    """Runs `script` with a `time.time` that jumps by up to two days at each call."""
    real, jumps = time.time, itertools.cycle([0, 86400, -86400, 172800, 3600, -60])
    time.time = lambda: real() + next(jumps)
    script(name, arguments)
