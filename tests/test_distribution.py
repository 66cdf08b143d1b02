"""Two logical replicas, and two worker processes, do what one replica does with the whole batch."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tf_talkinghead.errors import InputError
from tf_talkinghead.training.distribution import (
    check_batch,
    distribute,
    is_chief,
    make_strategy,
    workers,
)

# Absolute, on weights and optimizer state after three updates at rate 1e-3: float32 sums in another
# order.
TOLERANCE = 5e-5


def start(output, *arguments, task=None):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    environment.pop("TF_CONFIG", None)
    if task:
        environment["TF_CONFIG"] = json.dumps(task)
    command = [sys.executable, "-m", "tests.train_once", str(output), *arguments]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process):
    said, _ = process.communicate(timeout=900)
    assert process.returncode == 0, said[-3000:]


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    path = tmp_path_factory.mktemp("one") / "state.npz"
    finish(start(path))
    return dict(np.load(path))


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        if name.startswith("terms/"):
            continue
        np.testing.assert_allclose(other[name], value, rtol=0, atol=TOLERANCE, err_msg=name)
    for part in (
        "E/",
        "G/",
        "V/",
        "D/W",
        "D/w_0",
        "E_averaged/",
        "G_averaged/",
        "discriminator_optimizer/1/v",
    ):
        assert any(name.startswith(part) for name in one), part
    for name in ("loss", "pixel", "adversarial", "feature_matching", "match", "discriminator"):
        np.testing.assert_allclose(
            other[f"terms/{name}"], one[f"terms/{name}"], rtol=1e-4, err_msg=name
        )


def test_two_logical_replicas_equal_one(one, tmp_path):
    finish(start(tmp_path / "two.npz", "--replicas=2"))
    assert_same(one, dict(np.load(tmp_path / "two.npz")))


@pytest.mark.slow
def test_two_workers_equal_one(one, tmp_path):
    cluster = {"worker": [f"127.0.0.1:{free_port()}" for _ in range(2)]}
    processes = [
        start(
            tmp_path / f"{i}.npz", task={"cluster": cluster, "task": {"type": "worker", "index": i}}
        )
        for i in range(2)
    ]
    for process in processes:
        finish(process)
    assert_same(one, dict(np.load(tmp_path / "0.npz")))
    assert not (tmp_path / "1.npz").exists()  # the chief alone writes


def test_one_device_needs_no_strategy():
    strategy = make_strategy()
    assert strategy.num_replicas_in_sync == 1 and workers(strategy) == (1, 0) and is_chief(strategy)
    data = tf.data.Dataset.range(3)
    assert distribute(strategy, data) is data


def test_batches_that_do_not_divide_are_refused():
    assert check_batch(tf.distribute.get_strategy(), 6, 3) == 6
    with pytest.raises(InputError, match="--batch_size=5 does not divide by 1 replicas x 2"):
        check_batch(tf.distribute.get_strategy(), 5, 2)


def test_tf_config_and_logical_replicas_are_refused_together(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "{}")
    with pytest.raises(InputError, match="TF_CONFIG"):
        make_strategy(2)
