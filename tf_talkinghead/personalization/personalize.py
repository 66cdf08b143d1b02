"""Personalisation: T images of somebody never seen become an `Avatar` (Sec. 3.3), in one of three modes.

    avatar = personalize(load_trained("demo"), images, landmarks)      # uint8 [T,H,W,3], float32 [T,68,2]
    frames = render(avatar, landmarks)                                 # uint8 [B,H,W,3]

Batches are drawn from the images and, for a share, from warped copies of them (warps.py). Every `evaluate_every`
updates the averages are looked at: likeness on a held-out image (or, with few images, on the images themselves), and how
well expressions are still followed, since tuning for too long freezes them. With a held-out image the best
look is kept and patience ends the run. With `work_dir` the run's state is kept there, and a killed run goes on.
"""

import dataclasses
import json
import pathlib
import shutil
import time

import numpy as np
import tensorflow as tf

from tf_talkinghead import files
from tf_talkinghead.config import PRESETS, ConfigError, PersonalizeConfig, preset
from tf_talkinghead.errors import InputError, TalkingHeadError
from tf_talkinghead.faces.geometry import neutral_frame
from tf_talkinghead.files import arrays_sha256, sha256
from tf_talkinghead.personalization.avatar import (
    Avatar,
    load_avatar,
    render,
    save_avatar,
)
from tf_talkinghead.personalization.fine_tuning import PersonLearner
from tf_talkinghead.personalization.frame_selection import central
from tf_talkinghead.personalization.progress import Likeness
from tf_talkinghead.personalization.warps import training_pairs
from tf_talkinghead.training.checkpoints import Checkpoints, restore, snapshot
from tf_talkinghead.training.loop import Loop

__all__ = ["Avatar", "personalize", "recipe", "render"]

MODES = ("fine_tune", "feed_forward", "vector")


def recipe(config) -> PersonalizeConfig:
    """The settings to personalise weights of `config` with: its preset's, as this version has them."""
    return preset(config.preset).personalize if config.preset in PRESETS else config.personalize


def personalize(
    trained,
    images,
    landmarks,
    config: PersonalizeConfig | None = None,
    work_dir=None,
    progress=True,
    facts=None,
) -> Avatar:
    """An avatar of the person in `images` uint8 [T, H, W, 3] with `landmarks` [T, 68, 2], T >= 1.

    trained: `weights.store.Trained`, left unchanged. config: by default `recipe(trained.config)`.
    work_dir: where the run keeps its state; with the same images and settings a killed run is taken up there.
    facts: what the caller knows and the card should say. InputError for images that do not fit the weights.
    """
    config = config or recipe(trained.config)
    images, landmarks = _checked(trained, images, landmarks, config)
    began = time.monotonic()
    run = _Run(trained, images, landmarks, config, work_dir, progress)
    result = run.train() if config.mode != "feed_forward" else run.avatar(0)
    result.facts = {
        **result.facts,
        **(facts or {}),
        "seconds": round(run.seconds_before + time.monotonic() - began, 1),
    }
    return result


class _Run:
    """One person's run: its data, its looks and what it keeps."""

    def __init__(self, trained, images, landmarks, config, work_dir, progress):
        self.trained, self.config, self.progress = trained, config, progress
        self.images, self.landmarks = images, landmarks
        self.steps = 0 if config.mode == "feed_forward" else config.updates(len(images))
        self.held_out = central(landmarks) if len(images) >= config.holdout_from else None
        self.used = [i for i in range(len(images)) if i != self.held_out]
        self.learner = PersonLearner(
            trained, images[self.used], landmarks[self.used], config, self.steps
        )
        self.likeness = Likeness(images, landmarks, self.held_out)
        self.loss_before = self.learner.content_of(images[self.used], landmarks[self.used])
        self.history, self.best, self.seconds_before = [], None, 0.0
        self.folder = pathlib.Path(work_dir) if work_dir else None
        self._started = time.monotonic()

    def train(self):
        """All updates, from where a killed run stopped; the avatar of the best look, or of the last."""
        start = self._resume()
        self._pairs = self._make_pairs()
        loop = Loop(
            step=self.learner.step, batches=self._batches(start), steps=self.steps, start=start, save=self._save if self.folder else None,
            evaluate=self._look, evaluate_every=self.config.evaluate_every, description="personalising", progress=self.progress,
        )  # fmt: skip
        if not (self.history and self.history[-1].get("stop")):
            if loop.run().interrupted:
                raise TalkingHeadError(
                    "personalising was interrupted; the same command goes on where it stopped"
                )
        if self.best is None:  # resumed after its end
            self._keep(self.history[-1]["step"] if self.history else self.steps)
        return self.best

    def avatar(self, step):
        """The averages as they stand."""
        learner = self.learner
        learner.settle()
        weights, psi_hat = learner.folded()
        seen = self.likeness.look(learner.render)
        facts = {
            "images": len(self.images),
            "steps": step,
            "loss_before": round(self.loss_before, 5),
            "loss_after": round(
                learner.content_of(self.images[self.used], self.landmarks[self.used]), 5
            ),
            "face_similarity": seen["face_similarity"],
            "tradeoff": [
                {key: value for key, value in look.items() if key != "stop"}
                for look in self.history
            ],
            "trained_weights_sha256": self.trained.provenance.get("sha256"),
            "trained_on": self.trained.provenance.get("run") or self.trained.provenance.get("name"),
            "inputs_sha256": [sha256(image.tobytes()) for image in self.images],
        }
        config = dataclasses.replace(self.trained.config, personalize=self.config)
        reference = self.landmarks[neutral_frame(self.landmarks)]
        return Avatar(
            config, self.config.mode, weights, psi_hat, reference, facts, list(self.history)
        )

    def _look(self, step):
        """One look at the averages: remembered, kept on disk, and asked whether it goes on getting better."""
        self.learner.settle()
        look = {"step": step, **self.likeness.look(self.learner.render)}
        self.history.append(look)
        best = max(range(len(self.history)), key=lambda i: self.history[i]["ssim"])
        look["stop"] = (
            self.held_out is not None and len(self.history) - 1 - best >= self.config.patience
        )
        if self.held_out is None or best == len(self.history) - 1:
            self._keep(step)
        if self.folder:
            weights, psi_hat = self.learner.folded()
            arrays = {
                f"weight_{i:04d}": weight.astype(np.float16) for i, weight in enumerate(weights)
            }
            (self.folder / "intermediates").mkdir(parents=True, exist_ok=True)
            np.savez(
                self.folder / "intermediates" / f"step-{step:06d}.npz", psi_hat=psi_hat, **arrays
            )
        return {"ssim": look["ssim"], "stop": look["stop"]}

    def _keep(self, step):
        self.best = self.avatar(step)
        if self.folder:
            save_avatar(self.best, self.folder / "best")

    def _make_pairs(self):
        config = self.config
        if not config.warp:
            return None
        arguments = (config.warped_pairs, config.seed, config.warp_reach, config.warp_motion)
        return training_pairs(self.images[self.used], self.landmarks[self.used], *arguments)

    def _batches(self, start):
        """Batches from update `start` on; each is drawn by its own number, so a resumed run sees the same."""
        for number in range(start, self.steps):
            rng = np.random.default_rng([self.config.seed, number])
            images, landmarks = [], []
            for _ in range(self.config.batch_size):
                warped = self._pairs is not None and rng.random() < self.config.warp
                if warped:
                    chosen = rng.integers(len(self._pairs[0]))
                    images.append(self._pairs[0][chosen])
                    landmarks.append(self._pairs[1][chosen])
                else:
                    chosen = self.used[rng.integers(len(self.used))]
                    images.append(self.images[chosen])
                    landmarks.append(self.landmarks[chosen])
            yield {
                "image": tf.constant(np.stack(images)),
                "landmarks": tf.constant(np.stack(landmarks), tf.float32),
            }

    def _resume(self):
        """The step to go on from: that of the newest state on disk, if it is of this very run; else 0, with all cleared."""
        if not self.folder:
            return 0
        self._checkpoints = Checkpoints(self.folder / "training", keep=1)
        key = self._key()
        path = self.folder / "run.json"
        if not path.exists() or json.loads(path.read_text()).get("key") != key:
            for name in ("training", "intermediates", "best"):
                shutil.rmtree(self.folder / name, ignore_errors=True)
            files.write_atomically(path, json.dumps({"key": key}).encode())
            return 0
        arrays, manifest = self._checkpoints.load_newest()
        if arrays is None:
            return 0
        restore(self.learner.state(), arrays)
        self.history = manifest["scores"].get("history", [])
        self.seconds_before = manifest["scores"].get("seconds", 0.0)
        if any("ssim" in look for look in self.history):
            try:
                self.best = load_avatar(self.folder / "best")
            except (
                InputError
            ):  # killed while it was written: the next look that is kept replaces it
                self.best = None
        return manifest["step"]

    def _save(self, step, _scores):
        seconds = self.seconds_before + time.monotonic() - self._started
        path = self._checkpoints.save(
            step, snapshot(self.learner.state()), {"history": self.history, "seconds": seconds}
        )
        self._checkpoints.prune()
        return path

    def _key(self):
        """One digest of all that decides the run's outcome."""
        settings = json.dumps(dataclasses.asdict(self.config), sort_keys=True).encode()
        return arrays_sha256(
            [
                self.images,
                self.landmarks,
                *self.trained.generator.get_weights(),
                np.frombuffer(settings, np.uint8),
            ]
        )


def _checked(trained, images, landmarks, config):
    if config.mode not in MODES:
        raise ConfigError(f"mode: expected one of {', '.join(MODES)}, got {config.mode!r}")
    images, landmarks = np.asarray(images), np.asarray(landmarks, np.float32)
    size = trained.config.model.image_size
    if (
        images.ndim != 4
        or images.dtype != np.uint8
        or images.shape[1:] != (size, size, 3)
        or not len(images)
    ):
        raise InputError(
            f"images: expected uint8 [T, {size}, {size}, 3] with T >= 1, got {images.dtype} {list(images.shape)}"
        )
    if landmarks.shape != (len(images), 68, 2) or not np.isfinite(landmarks).all():
        raise InputError(
            f"landmarks: expected finite [{len(images)}, 68, 2], got {list(landmarks.shape)}"
        )
    return images, landmarks
