"""Benchmark of the networks: parameter counts, and speed of the generator in its served form.

The served form has folded kernels, and takes landmarks to pixels. Times are per frame, including
the landmark drawing and the conversion to uint8. `share_of_matmul` is the generator's operation
rate over that of plain matrix products of the same dtype, measured just before and after.
"""

import numpy as np
import tensorflow as tf

from tf_talkinghead.benchmark.machine import PeakMemory, matmul_gflops, median_seconds
from tf_talkinghead.benchmark.operations import operations
from tf_talkinghead.config import preset as preset_config
from tf_talkinghead.data.drawing import draw_landmarks
from tf_talkinghead.errors import InputError
from tf_talkinghead.models.discriminator import Discriminator
from tf_talkinghead.models.embedder import Embedder
from tf_talkinghead.models.generator import FoldedGenerator, Generator

OPTIONS = {
    "batches": "batch sizes, separated by commas; 1,4,8 by default",
    "repeats": "timed calls, of which the median is reported; 5 by default",
}
_DTYPES = {"float32": tf.float32, "bfloat16": tf.bfloat16}


def run(preset, options):
    """Measures parameters, GFLOP, and time and memory by batch size; see the module docstring.

    Args:
      preset: name of the configuration preset.
      options: as in OPTIONS.

    Returns:
      {figure: number or text}.

    Raises:
      InputError: an option is not a positive integer.
    """
    batches = [_positive("batches", text) for text in options.get("batches", "1,4,8").split(",")]
    batches.sort()  # ascending, since the process keeps the memory of a batch
    repeats = _positive("repeats", options.get("repeats", "5"))
    config = preset_config(preset).model
    result = {"weights": "random (speed does not depend on them)", **parameters(config)}
    for dtype in _DTYPES:
        result.update(_served(config, dtype, batches, repeats))
    fastest = f"ms_per_frame_batch_{batches[-1]}"
    result["bfloat16_speedup"] = result[f"float32_{fastest}"] / result[f"bfloat16_{fastest}"]
    result["drawing_ms_per_frame"] = _drawing_seconds(config.image_size, repeats) * 1e3
    return result


def parameters(config):
    """Trainable parameters of each network in millions, and the length A of psi_hat.

    P is part of the generator.
    """
    embedder, generator, discriminator = (
        Embedder(config),
        Generator(config),
        Discriminator(config, videos=1),
    )
    for network in (embedder, generator, discriminator):
        network.build()
    parts = {
        "embedder": embedder,
        "generator": generator,
        "projection": generator.P,
        "discriminator_v": discriminator.V,
    }
    counts = {f"{name}_parameters_m": count_parameters(part) / 1e6 for name, part in parts.items()}
    return {**counts, "adain_size": float(generator.adain_size)}


def count_parameters(network):
    """Number of trainable parameters."""
    return sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)


def _served(config, dtype, batches, repeats):
    """Figures of the generator in `dtype`: GFLOP, time, share of the machine's rate, memory."""
    policy = "mixed_bfloat16" if dtype == "bfloat16" else dtype
    generator = FoldedGenerator(config, dtype=policy)
    generator.build()
    size = config.image_size

    @tf.function
    def render(landmarks, psi_hat):
        x_hat = generator(draw_landmarks(landmarks, size), psi_hat)
        return tf.saturate_cast((x_hat + 1.0) * 127.5 + 0.5, tf.uint8)

    result, rates = {}, [matmul_gflops(_DTYPES[dtype])]
    with PeakMemory() as before:
        pass
    for batch in batches:
        landmarks, psi_hat = (
            tf.repeat(_face()[None], batch, 0),
            tf.zeros([batch, generator.adain_size]),
        )
        function = render.get_concrete_function(landmarks, psi_hat)
        gflop = sum(operations(function.graph).values()) / batch / 1e9
        with PeakMemory() as peak:
            seconds = (
                median_seconds(lambda f=function, i=(landmarks, psi_hat): f(*i), repeats) / batch
            )
        result[f"{dtype}_ms_per_frame_batch_{batch}"] = seconds * 1e3
        result[f"{dtype}_gflops_batch_{batch}"] = gflop / seconds
        # Memory beyond that of the program and the weights.
        if peak.megabytes is not None:
            result[f"{dtype}_peak_memory_mb_batch_{batch}"] = peak.megabytes - before.megabytes
    rates.append(matmul_gflops(_DTYPES[dtype]))
    for batch in batches:
        result[f"{dtype}_share_of_matmul_batch_{batch}"] = result[
            f"{dtype}_gflops_batch_{batch}"
        ] / max(rates)
    return {"generator_gflop_per_frame": gflop, f"{dtype}_matmul_gflops": max(rates), **result}


def _drawing_seconds(size, repeats, batch=8):
    draw = tf.function(lambda landmarks: draw_landmarks(landmarks, size))
    landmarks = tf.repeat(_face()[None], batch, 0)
    return median_seconds(lambda: draw(landmarks), 4 * repeats) / batch


def _face():
    """Synthetic landmarks [68, 2] in the layout of a face: a curve per part."""
    turn = np.linspace(0, 2 * np.pi, 68, dtype=np.float32)
    return tf.constant(np.stack([0.5 + 0.3 * np.cos(turn), 0.5 + 0.3 * np.sin(3 * turn)], axis=-1))


def _positive(name, text):
    if not text.strip().isdigit() or int(text) < 1:
        raise InputError(f"--option={name}: expected positive integers, got {text!r}")
    return int(text)
