"""The benchmark of the networks: what it counts, and what its script refuses."""

import json
import mmap

import numpy as np
import pytest
import tensorflow as tf

from scripts.benchmark import SUBJECTS
from tests.script_runner import run_script
from tf_talkinghead.benchmark import machine, networks
from tf_talkinghead.benchmark.machine import PeakMemory, median_seconds
from tf_talkinghead.benchmark.operations import KINDS, operations
from tf_talkinghead.errors import InputError


@pytest.fixture
def small_products(monkeypatch):
    monkeypatch.setattr(machine, "MATMUL_SIZES", (64, 128))


def test_operations_of_convolutions_and_products_worked_by_hand():
    @tf.function
    def network(images, kernel, a, b):
        h = tf.nn.relu(tf.nn.conv2d(images, kernel, 1, "SAME"))
        return (
            h,
            tf.matmul(a, b),
            tf.matmul(a[None], b[None]),
            tf.linalg.matmul(b, a, transpose_a=True, transpose_b=True),
        )

    shapes = [[2, 8, 8, 3], [3, 3, 3, 5], [4, 6], [6, 7]]
    function = network.get_concrete_function(*(tf.TensorSpec(shape) for shape in shapes))
    convolution = 2 * (2 * 8 * 8 * 5) * (3 * 3 * 3)
    product = 2 * 4 * 6 * 7
    assert operations(function.graph) == {
        **dict.fromkeys(KINDS.values(), 0),
        "convolution": convolution,
        "matrix_product": 3 * product,
    }


@pytest.mark.slow
def test_figures_are_flat_named_with_units_and_agree(small_products):
    figures = networks.run("tiny", {"batches": "2,1", "repeats": "1"})
    assert all(isinstance(value, (float, str)) for value in figures.values())
    assert figures["adain_size"] == 192
    for dtype in ("float32", "bfloat16"):
        for batch in (1, 2):
            seconds = figures[f"{dtype}_ms_per_frame_batch_{batch}"] / 1e3
            rate = figures["generator_gflop_per_frame"] / seconds
            assert figures[f"{dtype}_gflops_batch_{batch}"] == pytest.approx(rate)
            share = rate / figures[f"{dtype}_matmul_gflops"]
            assert figures[f"{dtype}_share_of_matmul_batch_{batch}"] == pytest.approx(share)
    speedup = figures["float32_ms_per_frame_batch_2"] / figures["bfloat16_ms_per_frame_batch_2"]
    assert figures["bfloat16_speedup"] == pytest.approx(speedup)


def test_the_machine_is_described(small_products):
    described = machine.describe()
    assert set(described) == {
        "machine",
        "device",
        "cores",
        "matmul_gflops",
        "matmul_bfloat16_gflops",
    }
    assert described["matmul_gflops"] > 0 and described["machine"]


def test_median_time_counts_the_repeats_and_not_the_warm_up(monkeypatch):
    ticks = iter([0, 100, 101, 200, 203, 300, 302])
    monkeypatch.setattr(machine.time, "perf_counter", lambda: next(ticks))
    assert median_seconds(lambda: tf.zeros([]), repeats=3) == 2


def test_peak_memory_sees_what_was_freed_again_in_nested_blocks_too():
    def use(size):
        """Fills and frees a mapping of its own: the heap may hold so much already."""
        np.ndarray(size, np.uint8, mmap.mmap(-1, size))[:] = 1

    with PeakMemory() as outer:
        use(40_000_000)
        with PeakMemory() as inner:
            use(10_000_000)
    if outer.megabytes is None:
        pytest.skip("this system does not tell its peak memory")
    assert 38 < outer.extra_megabytes < 80
    assert 8 < inner.extra_megabytes < 35


def test_bad_options_are_refused_by_name():
    with pytest.raises(InputError, match="--option=batches: expected positive integers, got '0'"):
        networks.run("tiny", {"batches": "1,0"})


def test_the_script_refuses_with_one_line():
    refused = run_script(
        "benchmark",
        [],
        ["pictures"],
        ["networks", "--preset=huge"],
        ["networks", "--option=colour=1"],
        ["networks", "--option=batches"],
    )
    for result in refused:
        assert result.code == 1
        assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert ", ".join(SUBJECTS) in refused[0].stderr
    assert "got pictures" in refused[1].stderr
    assert "batches: batch sizes" in refused[3].stderr


@pytest.mark.slow
def test_the_script_prints_and_writes_its_figures(tmp_path):
    path = tmp_path / "figures" / "networks.json"
    options = ["--preset=tiny", "--option=batches=1", "--option=repeats=1", f"--json={path}"]
    (result,) = run_script("benchmark", ["networks", *options])
    assert result.code == 0, result.stderr
    figures = json.loads(path.read_text())
    assert figures["subject"] == "networks" and figures["preset"] == "tiny"
    assert {"machine", "matmul_gflops", "peak_memory_mb"} <= set(figures)
    assert set(figures) == {line.split(" = ")[0] for line in result.stdout.splitlines()}
