"""A run of meta-learning from its dataset to its files; killed, resumed, refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import tensorflow as tf

from tests.face_points import COLLINS
from tests.script_runner import run_script
from tests.test_distribution import free_port
from tests.test_records import make_dataset
from tf_talkinghead.config import PreparationConfig, from_json, preset, replace, to_json
from tf_talkinghead.data import records
from tf_talkinghead.faces.cropping import CropBox
from tf_talkinghead.training.checkpoints import Checkpoints
from tf_talkinghead.training.run import meta_train
from tf_talkinghead.training.validation import better
from tf_talkinghead.weights.store import load_trained


def person(name, level, size=32):
    """A clip of eight frames: a smooth picture of its own level, a face that moves sideways."""
    random = np.random.default_rng(level)
    base = cv2.resize(
        random.integers(0, 256, (4, 4, 3), np.uint8), (size, size), interpolation=cv2.INTER_CUBIC
    )
    frames = [records.encode_frame(np.roll(base, t, axis=1), 95) for t in range(8)]
    landmarks = np.stack([COLLINS + [t / size, 0] for t in range(8)]).astype(np.float32)
    return records.Record(frames, landmarks, name, name, name, 25.0, CropBox(0, 0, size))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    make_dataset(folder, [[person(name, i) for i, name in enumerate("abcde")]], size=32)
    return folder


def command(data, run, *more):
    flags = [
        f"--data={data}",
        f"--run_dir={run}",
        "--preset=tiny",
        "--deterministic",
        "--holdout_people=1",
        "--checkpoint_every=2",
        *more,
    ]
    return [sys.executable, "-m", "scripts.meta_train", *flags]


def start(arguments, **variables):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", **variables}
    return subprocess.Popen(
        arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(run, step):
    """Until the run has a snapshot of `step`."""
    for _ in range(6000):
        if any(at >= step for at in Checkpoints(run / "checkpoints").steps()):
            return
        time.sleep(0.05)
    raise AssertionError(f"no snapshot of step {step}")


def test_a_run_leaves_config_snapshots_events_and_grids(data, tmp_path):
    """Its length comes from the epochs.

    Four people to train on, one held out: two epochs in batches of 2 are four updates.
    """
    changes = {
        "meta.steps": 0,
        "meta.epochs": 2,
        "meta.holdout_people": 1,
        "meta.holdout_episodes": 2,
        "meta.evaluate_every": 3,
    }
    config = replace(preset("tiny"), changes)
    result = meta_train(config, data, tmp_path, progress=False)
    assert result.step == 4 and not result.interrupted and 0 <= result.terms["data_wait_share"] <= 1
    stored = from_json((tmp_path / "config.json").read_text())
    assert stored == replace(config, {"meta.steps": 4}) and stored.meta.epochs == 2
    facts = json.loads((tmp_path / "run.json").read_text())
    assert facts["preparation"] == {"size": 32} and len(facts["held_out"]) == 1
    assert load_trained(tmp_path).preparation == PreparationConfig(size=32)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.steps() == [3, 4] and checkpoints.best()[0] in (3, 4)
    assert set(checkpoints.best()[1]) == {"ssim", "face_similarity"}
    grids = sorted(path.name for path in (tmp_path / "grids").iterdir())
    assert grids == [
        "held_out-0000003.png",
        "held_out-0000004.png",
        "training-0000003.png",
        "training-0000004.png",
    ]
    # Rows of two context frames, drawing, target and output, 32 pixels each, with white lines of 2
    # between them.
    assert cv2.imread(str(tmp_path / "grids" / grids[0])).shape[1] == 5 * 34 - 2
    tags = set()
    for path in (tmp_path / "events").iterdir():
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            tags |= {value.tag for value in event.summary.value}
    terms = {"pixel", "gradient", "loss", "adversarial", "feature_matching", "match"}
    terms |= {"discriminator", "gradient_norm", "discriminator_gradient_norm"}
    rates = {"rate/generator", "rate/discriminator", "steps_per_second", "data_wait_share"}
    held_out = {"held_out/ssim", "held_out/face_similarity", "held_out"}
    assert terms | rates | held_out | {"training", "config"} <= tags


@pytest.mark.slow
def test_killed_and_resumed_gives_bit_for_bit_what_an_undisturbed_run_gives(data, tmp_path):
    """Three real processes: one undisturbed, one killed with -9 and resumed, one ended by SIGTERM
    and resumed.
    """
    undisturbed, killed, last = tmp_path / "undisturbed", tmp_path / "killed", 40
    more = [f"--steps={last}", "--set=meta.evaluate_every=4"]
    process = start(command(data, undisturbed, *more))
    assert process.wait(timeout=900) == 0
    for number, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 0)):
        reached = max(Checkpoints(killed / "checkpoints").steps(), default=0)
        process = start(command(data, killed, *more))
        wait_for(killed, reached + 3)
        process.send_signal(number)
        said, wrong = process.communicate(timeout=900)
        assert process.returncode == code, wrong[-2000:]
    assert "stopped at step" in said and Checkpoints(killed / "checkpoints").steps()[-1] < last
    process = start(command(data, killed, *more))
    assert process.wait(timeout=900) == 0
    folders = [Checkpoints(run / "checkpoints") for run in (undisturbed, killed)]
    assert folders[0].best() == folders[1].best() and folders[0].best()[0] is not None
    reference, found = (folder.load(last)[0] for folder in folders)
    assert reference.keys() == found.keys() and len(found) > 100
    for part in (
        "E/",
        "G/",
        "V/",
        "D/W",
        "E_averaged/",
        "G_averaged/",
        "averages/",
        "generator_optimizer/",
        "discriminator_optimizer/1/v",
        "discriminator_optimizer/1/last_update",
    ):
        assert any(name.startswith(part) for name in found), part
    assert any(name.endswith(".u") for name in found)  # spectral vectors
    for name, value in reference.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.slow
def test_sigterm_to_one_of_two_workers_ends_both_at_the_same_step(data, tmp_path):
    """Two real processes; the one that does not save is told to stop. Both are then resumed to an
    end two steps on.
    """
    run = tmp_path / "run"

    def start_both(steps):
        cluster = {"worker": [f"127.0.0.1:{free_port()}" for _ in range(2)]}
        tasks = [
            json.dumps({"cluster": cluster, "task": {"type": "worker", "index": i}})
            for i in range(2)
        ]
        return [start(command(data, run, f"--steps={steps}"), TF_CONFIG=task) for task in tasks]

    def ends(processes):
        """The last line each says; both must have left with 0."""
        said = [process.communicate(timeout=300) for process in processes]
        assert [process.returncode for process in processes] == [0, 0], (
            said[0][1][-2000:] + said[1][1][-2000:]
        )
        return [out.strip().splitlines()[-1].partition(": ")[2] for out, _ in said]

    processes = start_both(100_000)
    try:
        wait_for(run, 4)
        processes[1].send_signal(signal.SIGTERM)
        last = ends(processes)
        at = Checkpoints(run / "checkpoints").steps()[-1]
        assert last == [f"stopped at step {at}"] * 2 and 4 <= at < 100_000
        processes = start_both(at + 2)
        assert ends(processes) == [f"finished at step {at + 2}"] * 2
    finally:
        for process in processes:
            process.kill()


def test_refusals_in_one_line(data, tmp_path):
    small, other = tmp_path / "small", tmp_path / "other"
    small.mkdir()
    make_dataset(small, [[person("a", 1, 16), person("b", 2, 16)]], size=16)
    wrong = tmp_path / "schema"
    shutil.copytree(data, wrong)
    text = (wrong / "dataset.json").read_text()
    (wrong / "dataset.json").write_text(text.replace('"schema": ', '"schema": 9', 1))
    other.mkdir()
    (other / "config.json").write_text(
        to_json(replace(preset("tiny"), {"meta.learning_rate": 0.25}))
    )
    common = ["--preset=tiny", f"--run_dir={tmp_path / 'run'}"]
    cases = {
        ("dataset.json", "prepare_dataset"): [*common, f"--data={tmp_path / 'nothing'}"],
        ("expected schema", "got 9"): [*common, f"--data={wrong}"],
        ("16 px", "32 px"): [*common, f"--data={small}"],
        ("meta.learning_rate", "0.25", "5e-05"): [
            "--preset=tiny",
            f"--run_dir={other}",
            f"--data={data}",
        ],
        ("no.h5", "--vgg19_weights"): [
            *common,
            f"--data={data}",
            "--perceptual=vgg",
            "--vgg19_weights=no.h5",
        ],
        ("--holdout_people=5", "5 people"): [*common, f"--data={data}", "--holdout_people=5"],
        ("--holdout_people=nobody",): [*common, f"--data={data}", "--holdout_people=nobody"],
        ("meta.micro_batches", "batch_size 3", "got 2"): [
            *common,
            f"--data={data}",
            "--batch_size=3",
            "--set=meta.micro_batches=2",
        ],
        ("meta.no_such",): [*common, f"--data={data}", "--set=meta.no_such=1"],
    }
    for words, result in zip(cases, run_script("meta_train", *cases.values()), strict=True):
        assert result.code == 1, result
        line = result.stderr.strip().splitlines()[-1]
        assert line.startswith("error: ") and "Traceback" not in result.stderr
        for word in words:
            assert word in line, (word, line)


def test_best_is_by_ssim_and_ties_by_face_similarity():
    assert better({"ssim": 0.5, "face_similarity": 0.1}, {})
    assert better({"ssim": 0.502, "face_similarity": 0.1}, {"ssim": 0.5, "face_similarity": 0.9})
    assert not better({"ssim": 0.49, "face_similarity": 0.9}, {"ssim": 0.5, "face_similarity": 0.1})
    assert better(
        {"ssim": 0.5001, "face_similarity": 0.6}, {"ssim": 0.5002, "face_similarity": 0.5}
    )
