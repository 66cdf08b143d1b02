"""Personalisation (Sec. 3.3): an `Avatar` from T images of a new person, in one of three modes.

    # images uint8 [T,H,W,3], landmarks float32 [T,68,2]; frames uint8 [B,H,W,3]
    avatar = personalize(load_trained("demo"), images, landmarks)
    frames = render(avatar, landmarks)

Batches are drawn from the images and, for a share, from warped copies of them (pairs.py). Every
`evaluate_every` updates the moving averages are evaluated (progress.py). With a held-out image the
result is the best evaluation, and the run ends after `patience` evaluations without a better one;
with too few images to hold one out the result is the last. With `work_dir` the run's state is
stored there, and a killed run continues.
"""

import dataclasses
import json
import pathlib
import shutil
import time

import numpy as np

from tf_talkinghead import files
from tf_talkinghead.config import PersonalizeConfig
from tf_talkinghead.config_checks import CHOICES
from tf_talkinghead.errors import InputError, TalkingHeadError
from tf_talkinghead.faces.geometry import neutral_frame
from tf_talkinghead.files import arrays_sha256, sha256
from tf_talkinghead.personalization.avatar import Avatar, Facts, load_avatar, render, save_avatar
from tf_talkinghead.personalization.feed_forward import feed_forward
from tf_talkinghead.personalization.fine_tuning import PersonLearner, stacked
from tf_talkinghead.personalization.frame_selection import central
from tf_talkinghead.personalization.pairs import make_pairs
from tf_talkinghead.personalization.photos import choose_photos, resized_photos
from tf_talkinghead.personalization.progress import Progress
from tf_talkinghead.training.checkpoints import Checkpoints, restore, snapshot
from tf_talkinghead.training.loop import Loop

__all__ = ["Avatar", "personalize", "render"]

MODES = CHOICES["personalize.mode"]


def personalize(
    trained,
    images,
    landmarks,
    config: PersonalizeConfig | None = None,
    work_dir=None,
    progress=True,
    inputs_sha256=None,
    pupils=None,
) -> Avatar:
    """An avatar of the person in the images.

    Args:
      trained: `weights.store.Trained`, left unchanged.
      images: uint8 [T, S, S, 3], T >= 1, of the size the weights were trained at; for a guided
        avatar, which carries them, of any size.
      landmarks: float32 [T, 68, 2], fractions of the image.
      config: by default `trained.config.personalize`, the run's own.
      work_dir: where the run stores its state; the same images and settings continue a killed run
        there.
      progress: whether to show a progress bar.
      inputs_sha256: digests of the files the images came from, for the card; by default of the
        images.
      pupils: float32 [T, 2, 2], fractions of the image, right eye first, NaN where unknown; a
        guided avatar needs them to move the gaze. None: all unknown.

    Raises:
      InputError: the images or landmarks do not fit the weights.
      MissingWeightsError: a network of the content loss lacks its weight file.
      TalkingHeadError: a signal interrupted the run, whose state is stored.
    """
    config = config or trained.config.personalize
    images, landmarks = _checked(trained, images, landmarks)
    began = time.monotonic()
    seconds_before = 0.0
    if config.mode == "feed_forward":
        avatar = feed_forward(trained, images, landmarks, config, pupils)
    else:
        run = _Run(trained, images, landmarks, config, work_dir, progress, pupils)
        avatar = run.train()
        seconds_before = run.seconds_before
    avatar.facts = dataclasses.replace(
        avatar.facts,
        seconds=round(seconds_before + time.monotonic() - began, 1),
        inputs_sha256=inputs_sha256 or [sha256(image.tobytes()) for image in images],
    )
    return avatar


class _Run:
    """One person's run: its data, its evaluations and the best avatar so far."""

    def __init__(self, trained, images, landmarks, config, work_dir, progress, pupils=None):
        self.trained, self.config, self.show_progress = trained, config, progress
        self.images, self.landmarks, self.pupils = images, landmarks, pupils
        self.steps = config.updates(len(images))
        self.held_out = central(landmarks) if len(images) >= config.holdout_from else None
        self.used = [i for i in range(len(images)) if i != self.held_out]
        self.pairs = make_pairs(
            trained.config.model,
            images[self.used],
            landmarks[self.used],
            config,
            None if pupils is None else pupils[self.used],
            trained.config.data.gaze_dropout,
        )
        self.learner = PersonLearner(trained, self.pairs, config, self.steps)
        shown = resized_photos(images, trained.config.model.image_size)
        self.progress = Progress(shown, landmarks, self.held_out)
        self.history, self.best, self.seconds_before = [], None, 0.0
        self.folder = pathlib.Path(work_dir) if work_dir else None
        self._started = time.monotonic()

    def train(self):
        """Does all updates, from where a killed run stopped; returns the avatar that is kept."""
        self._loss_before = self._loss()
        start = self._resume()
        loop = Loop(
            step=self.learner.step,
            batches=self._batches(start),
            steps=self.steps,
            start=start,
            save=self._save if self.folder else None,
            evaluate=self._evaluate,
            evaluate_every=self.config.evaluate_every,
            description="personalising",
            progress=self.show_progress,
        )
        stopped_early = self.history and self.history[-1].get("stop")
        if not stopped_early and loop.run().interrupted:
            raise TalkingHeadError(
                "personalising was interrupted; the same command continues where it stopped"
            )
        if self.best is None:  # resumed after its end, and the best avatar's files were damaged
            self.learner.converge()
            step = self.history[-1]["step"] if self.history else self.steps
            self._keep(step, self._scores())
        return self.best

    def _loss(self):
        return round(self.learner.content_of(), 5)

    def _scores(self):
        given = None if self.progress.held_out else self.learner.render_each(self.progress.count)
        return self.progress.evaluate(self.learner.render, given)

    def _avatar(self, step, scores, **losses):
        """The averages after `step` updates, whose evaluation gave `scores`."""
        weights, psi_hat = self.learner.folded()
        provenance = self.trained.provenance
        facts = Facts(
            images=len(self.images),
            steps=step,
            **losses,
            face_similarity=scores["face_similarity"],
            tradeoff=[
                {key: value for key, value in scores.items() if key != "stop"}
                for scores in self.history
            ],
            trained_weights_sha256=provenance.get("sha256"),
            trained_on=provenance.get("run") or provenance.get("name"),
        )
        config = dataclasses.replace(self.trained.config, personalize=self.config)
        reference = self.landmarks[neutral_frame(self.landmarks)]
        avatar = Avatar(
            config, self.config.mode, weights, psi_hat, reference, facts, list(self.history)
        )
        if config.model.generator == "guided":
            most = config.export.sources
            avatar.photos = choose_photos(self.images, self.landmarks, most, self.pupils)
        return avatar

    def _evaluate(self, step):
        """Evaluates the averages, stores them and says whether to stop early."""
        self.learner.converge()
        scores = {"step": step, **self._scores()}
        self.history.append(scores)
        best = max(range(len(self.history)), key=lambda i: self.history[i]["ssim"])
        since_best = len(self.history) - 1 - best
        scores["stop"] = self.held_out is not None and since_best >= self.config.patience
        if self.held_out is None or since_best == 0:
            self._keep(step, scores)
        if self.folder:
            self._store_intermediate(step)
        return {"ssim": scores["ssim"], "stop": scores["stop"]}

    def _keep(self, step, scores):
        self.best = self._avatar(
            step, scores, loss_before=self._loss_before, loss_after=self._loss()
        )
        if self.folder:
            save_avatar(self.best, self.folder / "best")

    def _store_intermediate(self, step):
        """The averages of this evaluation in float16, to compare stages of the run afterwards."""
        weights, psi_hat = self.learner.folded()
        arrays = {f"weight_{i:04d}": weight.astype(np.float16) for i, weight in enumerate(weights)}
        folder = self.folder / "intermediates"
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / f"step-{step:06d}.npz", psi_hat=psi_hat, **arrays)

    def _batches(self, start):
        """Batches from update `start` on, each drawn by its number: a resumed run sees the same."""
        for number in range(start, self.steps):
            rng = np.random.default_rng([self.config.seed, number])
            yield stacked([self.pairs.draw(rng) for _ in range(self.config.batch_size)])

    def _resume(self):
        """Restores the newest stored state of this run; returns its step, 0 if there is none."""
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
        if self.history:
            try:
                self.best = load_avatar(self.folder / "best")
            except InputError:  # killed while it was written: the next one kept replaces it
                self.best = None
        return manifest["step"]

    def _save(self, step, _scores):
        seconds = self.seconds_before + time.monotonic() - self._started
        scores = {"history": self.history, "seconds": seconds}
        path = self._checkpoints.save(step, snapshot(self.learner.state()), scores)
        self._checkpoints.prune()
        return path

    def _key(self):
        """Digest of everything that decides the run's result."""
        settings = json.dumps(dataclasses.asdict(self.config), sort_keys=True).encode()
        arrays = [self.images, self.landmarks, *self.trained.generator.get_weights()]
        if self.pupils is not None:
            arrays.append(np.float32(self.pupils))
        return arrays_sha256([*arrays, np.frombuffer(settings, np.uint8)])


def _checked(trained, images, landmarks):
    images, landmarks = np.asarray(images), np.asarray(landmarks, np.float32)
    size = trained.config.model.image_size
    if trained.config.model.generator == "guided" and images.ndim == 4:
        size = images.shape[1]
    fits = images.ndim == 4 and images.dtype == np.uint8 and images.shape[1:] == (size, size, 3)
    if not fits or not len(images):
        raise InputError(
            f"images: expected uint8 [T, {size}, {size}, 3] with T >= 1, got {images.dtype}"
            f" {list(images.shape)}"
        )
    if landmarks.shape != (len(images), 68, 2) or not np.isfinite(landmarks).all():
        raise InputError(
            f"landmarks: expected finite [{len(images)}, 68, 2], got {list(landmarks.shape)}"
        )
    return images, landmarks
