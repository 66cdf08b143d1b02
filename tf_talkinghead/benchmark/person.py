"""Benchmark of personalisation: seconds from images to a published avatar, by T and mode.

Loading and rendering of the avatar are measured too. The images are a pattern warped to a scripted
motion, at the preset's size. The weights are those of `--option=weights=...`, or untrained networks
of the preset, which are as fast.
"""

import pathlib
import tempfile
import time

import numpy as np
import tensorflow as tf

from tf_talkinghead.benchmark.machine import PeakMemory, median_seconds
from tf_talkinghead.config import preset as preset_config
from tf_talkinghead.data.drawing import draw_landmarks
from tf_talkinghead.driving.scripted_motion import scripted_motion
from tf_talkinghead.export.saved_model import export_person
from tf_talkinghead.personalization.personalize import personalize
from tf_talkinghead.personalization.settings import resolve
from tf_talkinghead.personalization.warps import warp
from tf_talkinghead.weights.store import empty, load_trained

OPTIONS = {
    "weights": '"demo" or a run directory; default: untrained networks of the preset',
    "shots": "numbers of images, for example 1,8,32; default: 8",
    "modes": "fine_tune, vector, feed_forward; default: all",
    "steps": "fine-tuning updates; default: the run's",
}


def run(preset, options):
    """Measures personalisation, see the module docstring.

    Args:
      preset: name of the configuration preset.
      options: as in OPTIONS.

    Returns:
      {figure: number or text}.
    """
    if "weights" in options:
        trained, notes = load_trained(options["weights"]), {"weights": options["weights"]}
    else:
        trained, notes = empty(preset_config(preset)), {"weights": "synthetic: no training"}
    figures = {**notes, "images": "synthetic: a pattern warped to a scripted motion"}
    with PeakMemory() as peak, tempfile.TemporaryDirectory() as folder:
        for shots in map(int, options.get("shots", "8").split(",")):
            images, landmarks = _synthetic(trained.config.model.image_size, shots)
            for mode in options.get("modes", "fine_tune,vector,feed_forward").split(","):
                steps = int(options["steps"]) if "steps" in options else None
                config = resolve(trained.config, mode=mode, steps=steps).personalize
                began = time.perf_counter()
                avatar = personalize(trained, images, landmarks, config, progress=False)
                trained_at = time.perf_counter()
                version = export_person(avatar, pathlib.Path(folder), "person")
                figures[f"{mode}_{shots}_images_seconds"] = trained_at - began
                figures[f"{mode}_{shots}_images_export_seconds"] = time.perf_counter() - trained_at
        figures.update(_rendering(trained, avatar, version, landmarks[0]))
    figures["personalize_peak_memory_mb"] = peak.megabytes
    return figures


def _rendering(trained, avatar, version, points):
    """Seconds to load the version, and to render one frame by it and by the training graph."""
    began = time.perf_counter()
    serve = tf.saved_model.load(str(version)).signatures["serving_default"]
    one = tf.constant(points[None])
    serve(landmarks=one)
    figures = {"model_load_seconds": time.perf_counter() - began}
    size, psi_hat = trained.config.model.image_size, tf.constant(avatar.psi_hat[None])
    if avatar.photos is None:
        graph = tf.function(
            lambda landmarks: trained.generator(draw_landmarks(landmarks, size), psi_hat=psi_hat)
        )
    else:  # the training graph has no photos of this avatar, so its unexported form is timed
        graph = lambda landmarks: avatar.forward(landmarks, psi_hat)
    calls = {
        "export": lambda: serve(landmarks=one)["frames"].numpy(),
        "training_graph": lambda: graph(one).numpy(),
    }
    # Alternating, so that other load on the machine affects all alike.
    turns = [
        {name: median_seconds(call, repeats=3) for name, call in calls.items()} for _ in range(9)
    ]
    return figures | {
        f"{name}_frame_seconds": float(np.median([turn[name] for turn in turns])) for name in calls
    }


def _synthetic(size, count):
    """Synthetic images uint8 [count, size, size, 3] and landmarks float32 [count, 68, 2]."""
    rest = _oval()
    landmarks = scripted_motion(rest, frames=max(count, 2))[:count]
    pattern = np.random.default_rng(0).integers(0, 256, (size // 8, size // 8, 3)).astype(np.uint8)
    image = np.kron(pattern, np.ones((8, 8, 1), np.uint8))
    return np.stack([warp(image, rest, points) for points in landmarks]), landmarks


def _oval():
    """Simplified landmarks [68, 2] in the layout of a face."""

    def arc(middle, width, height, count, first, last):
        angle = np.linspace(np.deg2rad(first), np.deg2rad(last), count)
        return np.stack([middle[0] + width * np.cos(angle), middle[1] + height * np.sin(angle)], -1)

    parts = [
        arc((0.5, 0.42), 0.28, 0.38, 17, 180, 0),
        arc((0.38, 0.34), 0.09, 0.04, 5, 180, 360), arc((0.62, 0.34), 0.09, 0.04, 5, 180, 360),
        np.stack([np.full(4, 0.5), np.linspace(0.4, 0.54, 4)], -1),
        arc((0.5, 0.56), 0.05, 0.015, 5, 180, 0),
        arc((0.39, 0.41), 0.05, 0.02, 6, 180, 480), arc((0.61, 0.41), 0.05, 0.02, 6, 180, 480),
        arc((0.5, 0.67), 0.1, 0.035, 12, 180, 510), arc((0.5, 0.67), 0.08, 0.012, 8, 180, 495),
    ]  # fmt: skip
    return np.concatenate(parts).astype(np.float32)
