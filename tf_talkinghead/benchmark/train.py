"""Benchmark of a meta-learning update: examples and GFLOP per second, and share of data wait.

Without `--option=data=DIR` the update reads small synthetic records from a temporary folder. VGG
weight files are synthesised with random numbers, which does not change the speed. Operations are
those of convolutions and matrix products, backward passes included, counted in the update's own
graph. The profile (step_profile.py) is taken from further updates, after the timed ones.
"""

import pathlib
import tempfile
import time

import numpy as np
import tensorflow as tf

from tf_talkinghead.benchmark import step_profile
from tf_talkinghead.benchmark.machine import PeakMemory, matmul_gflops
from tf_talkinghead.benchmark.operations import operations
from tf_talkinghead.config import preset as preset_config
from tf_talkinghead.config import replace
from tf_talkinghead.data import dataset, records
from tf_talkinghead.data.episodes import episodes
from tf_talkinghead.faces.cropping import CropBox
from tf_talkinghead.models import perceptual
from tf_talkinghead.training.meta_learning import MetaLearner
from tf_talkinghead.training.run import without_names

OPTIONS = {
    "data": "dataset of prepare_dataset; synthetic by default",
    "batch_size": "episodes of an update; 1 for preset paper, the preset's otherwise",
    "shots": "context frames; 1 for preset paper, the preset's otherwise",
    "dtype": "float32 (default) or mixed_bfloat16",
    "steps": "timed updates, of which the median is reported; 5 by default",
    "profile": "updates profiled after the timed ones; 2 by default, 0 for none",
    "videos": "two numbers of rows of W to compare update times for, for example 1000,145000; "
    "none by default",
}


def run(preset, options):
    """Measures an update with all loss terms and D enabled; see the module docstring.

    Args:
      preset: name of the configuration preset.
      options: as in OPTIONS.

    Returns:
      {figure: number or text}.
    """
    config, notes = _config(preset, options)
    steps, profiled = int(options.get("steps", "5")), int(options.get("profile", "2"))
    with tempfile.TemporaryDirectory() as folder:
        data = options.get("data") or _synthetic(pathlib.Path(folder), config.model.image_size)
        notes["data"] = options.get("data") or "synthetic: 8 videos of noise"
        if config.losses.perceptual == "vgg":
            config = replace(config, synthetic_vgg(pathlib.Path(folder)))
            notes["content"] = "VGG19 and VGGFace with random weights (the cost is the paper's)"
        with PeakMemory() as peak:
            figures = _updates(config, data, steps, profiled)
    figures["training_peak_memory_mb"] = peak.megabytes
    if "videos" in options:
        figures.update(
            _rows_of_w(config, [int(number) for number in options["videos"].split(",")], steps)
        )
    return {**notes, **figures}


table = step_profile.table


def _config(preset, options):
    """The configuration to measure, and notes on how it differs from the preset."""
    config = preset_config(preset)
    # A batch of 48 x 9 frames of 256 px is too much for a CPU.
    small = preset == "paper"
    changes = {
        "meta.batch_size": int(options.get("batch_size", 1 if small else config.meta.batch_size)),
        "meta.shots": int(options.get("shots", 1 if small else config.meta.shots)),
        "meta.dtype": options.get("dtype", "float32"),
        "losses.adversarial_start": 0,
    }
    notes = {
        "batch": f"{changes['meta.batch_size']} episodes of {changes['meta.shots']} context frames",
        "dtype": changes["meta.dtype"],
    }
    return replace(config, changes), notes


def _updates(config, data, steps, profiled):
    """Times, operations and profile of updates on `data`.

    The machine's matrix-product rate is measured before and after; the higher of the two is used.
    """
    dtype = tf.bfloat16 if config.meta.dtype == "mixed_bfloat16" else tf.float32
    rate = matmul_gflops(dtype)
    learner = MetaLearner(config, len(dataset.load_dataset(data).videos))
    update = learner.function(True)
    batches = iter(episodes(data, config, config.meta.batch_size, seed=0).map(without_names))
    _wait(update(next(batches)))
    flop = operations(
        update.get_concrete_function(next(batches)).graph, config.meta.batch_size, config.meta.shots
    )
    gflop = sum(flop.values()) / 1e9
    times, waits = [], []
    for _ in range(steps):
        start = time.perf_counter()
        batch = next(batches)
        waits.append(time.perf_counter() - start)
        _wait(update(batch))
        times.append(time.perf_counter() - start)
    seconds = float(np.median(times))
    rate = max(rate, matmul_gflops(dtype))
    figures = {
        "step_seconds": seconds,
        "examples_per_second": config.meta.batch_size / seconds,
        "gflop_per_step": gflop,
        "gflops": gflop / seconds,
        "share_of_matmul_rate": gflop / seconds / rate,
        "data_wait_share": float(np.sum(waits) / np.sum(times)),
    }
    if profiled:
        figures.update(
            step_profile.profile(lambda: _wait(update(next(batches))), profiled, seconds)
        )
        figures.update(step_profile.convolutions(figures, flop, rate))
    return figures


def _rows_of_w(config, counts, steps):
    """Update times by number of rows in W, alternating so that other load affects all alike."""
    learners = [MetaLearner(config, count) for count in counts]
    updates = [learner.function(True) for learner in learners]
    batches = [_random_batch(config, count) for count in counts]
    times = [[] for _ in counts]
    for repeat in range(steps + 1):
        for i, update in enumerate(updates):
            start = time.perf_counter()
            _wait(update(batches[i]))
            # The first call traces.
            if repeat:
                times[i].append(time.perf_counter() - start)
    medians = [float(np.median(taken)) for taken in times]
    figures = {f"step_seconds_{count}_videos": seconds for count, seconds in zip(counts, medians)}
    figures["step_time_ratio_of_videos"] = medians[-1] / medians[0]
    return figures


def _random_batch(config, videos):
    """A batch of random images, landmarks and rows of W."""
    size, batch, shots = config.model.image_size, config.meta.batch_size, config.meta.shots
    random = np.random.default_rng(0)
    return {
        "context_images": tf.constant(
            random.integers(0, 256, (batch, shots, size, size, 3), np.uint8)
        ),
        "context_landmarks": tf.constant(
            random.uniform(0.2, 0.8, (batch, shots, 68, 2)), tf.float32
        ),
        "image": tf.constant(random.integers(0, 256, (batch, size, size, 3), np.uint8)),
        "landmarks": tf.constant(random.uniform(0.2, 0.8, (batch, 68, 2)), tf.float32),
        "index": tf.constant(random.integers(0, videos, batch), tf.int32),
    }


def _synthetic(folder, size):
    """Writes a dataset of eight videos of noise to `folder`."""
    random = np.random.default_rng(0)
    made = []
    for number in range(8):
        frames = [
            records.encode_frame(random.integers(0, 256, (size, size, 3), np.uint8), 95)
            for _ in range(12)
        ]
        points = random.uniform(0.2, 0.8, (12, 68, 2)).astype(np.float32)
        made.append(
            records.Record(
                frames, points, f"{number}", f"{number}", f"{number}", 25.0, CropBox(0, 0, size)
            )
        )
    places = records.write_shard(
        folder / "clips-00000-of-00001.tfrecord", map(records.serialize, made)
    )
    entries = [
        dataset.Entry(r.clip, i, 0, offset, length, 12, 80.0, (0.0, 0.0, 0.0))
        for i, (r, (offset, length)) in enumerate(zip(made, places))
    ]
    videos = [(record.identity, record.video) for record in made]
    found = dataset.Dataset(
        folder, {"size": size}, videos, ["clips-00000-of-00001.tfrecord"], entries, 0
    )
    (folder / dataset.INDEX_NAME).write_text(dataset.to_json(found))
    return folder


def synthetic_vgg(folder):
    """Writes random weight files of VGG19 and VGGFace to `folder`.

    Returns:
      {dotted configuration field: file}, to pass to `config.replace`.
    """
    changes = {}
    kinds = {"vgg19": perceptual.VGG19_BLOCKS, "vggface": perceptual.VGGFACE_BLOCKS}
    for name, blocks in kinds.items():
        network = perceptual.CaffeVGG(blocks, mean=(0.0, 0.0, 0.0))
        network.build()
        arrays = {
            f"{layer.name}/{part}": weight
            for layer in network.convolutions
            for part, weight in zip(("kernel", "bias"), layer.get_weights())
        }
        np.savez(folder / f"{name}.npz", **arrays)
        changes[f"losses.{name}_weights"] = str(folder / f"{name}.npz")
    return changes


def _wait(terms):
    """Waits for the update to end by reading its loss terms."""
    return [float(value) for value in terms.values()]
