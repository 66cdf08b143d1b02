"""Snapshots: round trip, pruning, damage, growth of W, older formats, and kill -9 while one is
written.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from tests.train_once import VIDEOS, settings
from tf_talkinghead.errors import InputError
from tf_talkinghead.training.checkpoints import Checkpoints, restore, snapshot
from tf_talkinghead.training.meta_learning import MetaLearner


def arrays(value):
    return {"a/000.kernel": np.full((2, 3), value, np.float32), "count": np.int64(value)}


def test_round_trip_keeps_bits_and_types(tmp_path):
    stored = {
        "x": np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32),
        "n": np.int64(7),
    }
    Checkpoints(tmp_path).save(7, stored, {"ssim": 0.5})
    loaded, manifest = Checkpoints(tmp_path).load_newest()
    assert manifest["step"] == 7 and manifest["scores"] == {"ssim": 0.5}
    for name, array in stored.items():
        assert loaded[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded[name], array)


def test_a_full_disk_is_one_line_and_leaves_the_snapshots_before(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"a": np.zeros(8)})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(InputError, match="step-00000002: cannot be written .File too large"):
            checkpoints.save(2, {"a": np.random.default_rng(0).random(9000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert checkpoints.steps() == [1] and not list(tmp_path.glob(".step-*"))
    assert checkpoints.load_newest()[1]["step"] == 1
    checkpoints.save(2, {"a": np.zeros(9000)})
    assert checkpoints.steps() == [1, 2]


def test_newest_and_best_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in range(1, 6):
        checkpoints.save(step, arrays(step))
        if step == 2:
            checkpoints.mark_best(2, {"ssim": 0.9})
        checkpoints.prune()
    assert checkpoints.steps() == [2, 4, 5]
    assert checkpoints.best() == (2, {"ssim": 0.9})


@pytest.mark.parametrize("damage", ["cut", "flipped", "no manifest", "empty manifest"])
def test_a_damaged_newest_falls_back_with_a_warning(tmp_path, capsys, damage):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, arrays(1))
    checkpoints.save(2, arrays(2))
    state, manifest = checkpoints.path(2) / "state.npz", checkpoints.path(2) / "manifest.json"
    data = bytearray(state.read_bytes())
    if damage == "cut":
        state.write_bytes(data[: len(data) // 2])
    elif damage == "flipped":
        data[len(data) // 2] ^= 1
        state.write_bytes(data)
    elif damage == "no manifest":
        manifest.unlink()
    else:
        manifest.write_text("")
    loaded, found = checkpoints.load_newest()
    assert found["step"] == 1 and loaded["count"] == 1
    message = capsys.readouterr().err
    assert "warning" in message and "step-00000002" in message
    assert checkpoints.steps() == [1]


def test_a_best_snapshot_moved_aside_is_best_no_more(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, arrays(1), {"ssim": 0.9})
    checkpoints.mark_best(1, {"ssim": 0.9})
    assert checkpoints.best() == (1, {"ssim": 0.9})
    (checkpoints.path(1) / "state.npz").write_bytes(b"damage")
    assert checkpoints.load_newest() == (None, None) and checkpoints.best() == (None, {})


def test_nothing_there(tmp_path):
    assert Checkpoints(tmp_path / "none").load_newest() == (None, None)
    assert Checkpoints(tmp_path / "none").best() == (None, {})


def test_restore_refuses_another_network():
    variables = {"a": tf.Variable([1.0, 2.0])}
    with pytest.raises(InputError, match=r"a is \[3\], expected \[2\]"):
        restore(variables, {"a": np.zeros(3, np.float32)})
    with pytest.raises(InputError, match="lacks .*'a'"):
        restore(variables, {"b": np.zeros(2, np.float32)})


def test_rows_are_kept_when_the_dataset_grew():
    grown = {"W": tf.Variable(np.full((4, 2), 9.0, np.float32)), "x": tf.Variable(0.0)}
    restore(
        grown,
        {"W": np.arange(4, dtype=np.float32).reshape(2, 2), "x": np.float32(3)},
        growing=("W",),
    )
    np.testing.assert_array_equal(grown["W"], [[0, 1], [2, 3], [9, 9], [9, 9]])
    with pytest.raises(InputError):  # fewer rows than before: not a grown dataset
        restore(grown, {"W": np.zeros((5, 2), np.float32), "x": np.float32(3)}, growing=("W",))


def test_snapshot_of_variables():
    found = snapshot({"a": tf.Variable([1.0, 2.0]), "n": tf.Variable(3, dtype=tf.int64)})
    assert found["n"].dtype == np.int64 and found["n"] == 3
    np.testing.assert_array_equal(found["a"], [1, 2])


def as_schema_1(folder, step):
    """Rewrites the manifest of a snapshot as version 1 of the format had it."""
    path = Checkpoints(folder).path(step) / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 1}))


def test_a_snapshot_of_schema_1_is_read_under_the_new_names(tmp_path):
    old = {
        "G/000.kernel": np.float32([1, 2]),
        "creator/0/m/000": np.float32([3]),
        "critic/0/count": np.int64(7),
        "critic/1/row_v": np.float32([[0.5, 0.25], [0, 0]]),
        "critic/1/row_counts": np.int64([2, 0]),
        "loss_scale/scale": np.float32(8),
        "averages/count": np.int64(4),
    }
    Checkpoints(tmp_path).save(7, old)
    as_schema_1(tmp_path, 7)
    arrays, manifest = Checkpoints(tmp_path).load_newest()
    assert manifest["step"] == 7
    expected = {
        "G/000.kernel": [1, 2],
        "generator_optimizer/0/m/000": [3],
        "discriminator_optimizer/0/count": 7,
        "discriminator_optimizer/1/count": 7,
        "discriminator_optimizer/1/v": [[0.5, 0.25], [0, 0]],
        "discriminator_optimizer/1/last_update": [7, 7],
        "averages/count": 4,
    }
    assert arrays.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(arrays[name], value, err_msg=name)


def test_an_old_snapshot_fits_todays_learner(tmp_path):
    """Every name of a schema-1 state, made from today's by the old names, is known to today's
    learner.
    """
    learner = MetaLearner(settings(), VIDEOS)
    today = snapshot(learner.state())
    old = {}
    for name, array in today.items():
        part, _, rest = name.partition("/")
        if rest == "1/count":
            continue
        rest = {"1/v": "1/row_v", "1/last_update": "1/row_counts"}.get(rest, rest)
        part = {"generator_optimizer": "creator", "discriminator_optimizer": "critic"}.get(
            part, part
        )
        old[f"{part}/{rest}"] = array
    Checkpoints(tmp_path).save(1, old)
    as_schema_1(tmp_path, 1)
    restore(learner.state(), Checkpoints(tmp_path).load(1)[0])


def test_a_snapshot_of_a_newer_version_says_what_to_do(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, arrays(1))
    path = checkpoints.path(1) / "manifest.json"
    path.write_text(path.read_text().replace('"schema": 2', '"schema": 3'))
    with pytest.raises(InputError, match="schema 3, this version reads 1 and 2; use the version"):
        checkpoints.load(1)


WRITER = """
import sys, numpy as np
from tf_talkinghead.training.checkpoints import Checkpoints
checkpoints = Checkpoints(sys.argv[1], keep=3)
for step in range(1, 10**6):
    checkpoints.save(step, {"x": np.full(200_000, step, np.float32)})
    checkpoints.prune()
    print(step, flush=True)
"""


def test_kill_while_writing_leaves_sound_snapshots(tmp_path):
    for delay in (0.0, 0.003, 0.007, 0.011):
        folder = tmp_path / str(delay)
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=os.getcwd(),
        )
        for _ in range(4):
            said = int(process.stdout.readline())
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        loaded, manifest = Checkpoints(folder).load_newest()
        assert manifest["step"] >= said  # everything that was announced is there
        np.testing.assert_array_equal(loaded["x"], np.full(200_000, manifest["step"], np.float32))
