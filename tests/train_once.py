"""Program that makes a few updates of preset `tiny` on generated episodes and saves the result.

    python -m tests.train_once OUT.npz --replicas=2 --steps=3

Replicas and workers can only be set up before TensorFlow starts, so tests/test_distribution.py
runs it as a process of its own.
"""

import argparse

import numpy as np

VIDEOS = 6


def batch(step, size=4, shots=2, pixels=32):
    """The global batch of a step: noise pictures, landmarks of a rough face, repeated rows of W."""
    rng = np.random.default_rng(step)
    angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    face = np.stack([0.5 + 0.3 * np.cos(angle), 0.5 + 0.3 * np.sin(angle)], -1)
    return {
        "context_images": rng.integers(0, 256, (size, shots, pixels, pixels, 3), np.uint8),
        "context_landmarks": np.float32(face + rng.normal(0, 0.02, (size, shots, 68, 2))),
        "image": rng.integers(0, 256, (size, pixels, pixels, 3), np.uint8),
        "landmarks": np.float32(face + rng.normal(0, 0.02, (size, 68, 2))),
        "index": np.int32([step % VIDEOS, (step + 1) % VIDEOS, step % VIDEOS, 5][:size]),
    }


def settings(**more):
    """A configuration in which every loss term and both D updates take part."""
    from tf_talkinghead.config import preset, replace

    changes = {
        "meta.variant": "ft",
        "meta.batch_size": 4,
        "meta.learning_rate": 1e-3,
        "meta.discriminator_learning_rate": 1e-3,
        "losses.structure": 1.0,
    }
    return replace(preset("tiny"), {**changes, **more})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("output")
    parser.add_argument("--replicas", type=int, default=0)
    parser.add_argument("--steps", type=int, default=3)
    arguments = parser.parse_args()

    from tf_talkinghead.training.distribution import (
        distribute,
        is_chief,
        make_strategy,
        workers,
    )

    strategy = make_strategy(arguments.replicas)  # before anything else touches TensorFlow

    import tensorflow as tf

    from tf_talkinghead.training.checkpoints import snapshot
    from tf_talkinghead.training.meta_learning import MetaLearner

    learner = MetaLearner(settings(), VIDEOS, strategy)
    count, worker = workers(strategy)
    share = 4 // count

    def batches():
        for step in range(arguments.steps):
            yield {
                name: value[worker * share : (worker + 1) * share]
                for name, value in batch(step).items()
            }

    signature = {
        name: tf.TensorSpec((share, *value.shape[1:]), value.dtype)
        for name, value in batch(0).items()
    }
    data = tf.data.Dataset.from_generator(batches, output_signature=signature)
    for number, part in enumerate(distribute(strategy, data)):
        terms = learner.step(part, number)
    if is_chief(strategy):
        found = {f"terms/{name}": np.float32(value) for name, value in terms.items()}
        np.savez(arguments.output, **found, **snapshot(learner.state()))


if __name__ == "__main__":
    main()
