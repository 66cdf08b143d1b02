"""Personalisation: what each mode trains, that it learns, resumes exactly, and what is refused."""

import dataclasses
import json
import os
import signal

import cv2
import numpy as np
import pytest
import tensorflow as tf

from tests.face_points import COLLINS
from tests.random_avatars import random_generator
from tf_talkinghead import config as configs
from tf_talkinghead.config import ConfigError
from tf_talkinghead.data.drawing import draw_landmarks
from tf_talkinghead.driving.scripted_motion import scripted_motion
from tf_talkinghead.errors import InputError, TalkingHeadError
from tf_talkinghead.models.generator import adain_size
from tf_talkinghead.personalization import fine_tuning
from tf_talkinghead.personalization.avatar import load_avatar
from tf_talkinghead.personalization.frame_selection import central
from tf_talkinghead.personalization.pairs import make_pairs
from tf_talkinghead.personalization.personalize import personalize, render
from tf_talkinghead.personalization.progress import Progress
from tf_talkinghead.personalization.warps import warp
from tf_talkinghead.weights.store import empty


@pytest.fixture(scope="module")
def trained():
    """Untrained networks of preset tiny."""
    config = configs.preset("tiny")
    trained = empty(config)
    trained.generator.set_weights(random_generator(config).get_weights())
    trained.w_0 = (
        np.random.default_rng(0).normal(0, 1, config.model.embedding_size).astype(np.float32)
    )
    return trained


@pytest.fixture(scope="module")
def person(portrait):
    """Three 32-px images in motion: a portrait, warped."""
    image = cv2.resize(portrait, (32, 32), interpolation=cv2.INTER_AREA)
    landmarks = scripted_motion(COLLINS, frames=9)[[0, 2, 6]]
    return np.stack([warp(image, COLLINS, points) for points in landmarks]), landmarks


def _recipe(trained, **changes):
    return dataclasses.replace(trained.config.personalize, **changes)


def _body(trained):
    return fine_tuning.folded_weights(trained.generator)


def _error(frames, images):
    """Mean absolute difference in grey levels."""
    return float(np.abs(frames.astype(float) - images).mean())


def test_fine_tuning_learns_and_leaves_the_trained_networks_alone(trained, person):
    images, landmarks = person
    before = [w.copy() for w in trained.generator.get_weights()]
    config = _recipe(
        trained,
        steps=60,
        evaluate_every=30,
        learning_rate=1e-2,
        vector_learning_rate=5e-2,
        adam_beta_1=0.5,
        ema_decay=0.8,
        adversarial_from=1.0,
    )
    avatar = personalize(trained, images, landmarks, config, progress=False)
    assert avatar.facts.loss_after < 0.5 * avatar.facts.loss_before
    flat = np.broadcast_to(images.mean((0, 1, 2)), images.shape)
    assert _error(render(avatar, landmarks), images) < 0.5 * _error(flat, images)
    assert all(np.array_equal(a, b) for a, b in zip(before, trained.generator.get_weights()))
    changed = [not np.array_equal(a, b) for a, b in zip(_body(trained), avatar.weights)]
    assert sum(changed) >= len(changed) - 2  # an attention gain of exactly 0 may stay
    assert [scores["step"] for scores in avatar.history] == [30, 60]
    assert avatar.facts.steps == 60


def test_vector_mode_moves_the_adain_numbers_alone(trained, person):
    avatar = personalize(
        trained, *person, _recipe(trained, mode="vector", adversarial_from=1.0), progress=False
    )
    assert all(np.array_equal(a, b) for a, b in zip(_body(trained), avatar.weights))
    start = personalize(trained, *person, _recipe(trained, mode="feed_forward"), progress=False)
    assert avatar.psi_hat.shape == (adain_size(trained.config.model),)
    assert not np.allclose(avatar.psi_hat, start.psi_hat)


def test_feed_forward_is_P_times_the_mean_embedding(trained, person):
    images, landmarks = person
    avatar = personalize(
        trained, images, landmarks, _recipe(trained, mode="feed_forward"), progress=False
    )
    vectors = [
        trained.embedder(x[None] / np.float32(127.5) - 1, draw_landmarks(tf.constant(y[None]), 32))
        for x, y in zip(images, landmarks)
    ]
    expected = trained.generator.project(tf.add_n(vectors) / 3)[0].numpy()
    np.testing.assert_allclose(avatar.psi_hat, expected, rtol=1e-4, atol=1e-5)
    assert avatar.facts.steps == 0 and avatar.history == []
    assert (
        avatar.facts.loss_before is None and avatar.facts.loss_after is None
    )  # nothing is trained


def test_discriminator_starts_at_w_0_plus_e_new_and_moves(trained, person):
    images, landmarks = person
    config = _recipe(trained, adversarial_from=0.5)
    pairs = make_pairs(trained.config.model, images, landmarks, config)
    learner = fine_tuning.PersonLearner(trained, pairs, config, 4)
    e_new = fine_tuning.embed(trained.embedder, images, landmarks).numpy()
    np.testing.assert_allclose(learner.discriminator.w.numpy(), trained.w_0 + e_new, rtol=1e-6)
    batch = {"image": tf.constant(images), "landmarks": tf.constant(landmarks)}
    assert "adversarial" not in learner.step(batch, 1)  # D takes part in the second half
    np.testing.assert_allclose(learner.discriminator.w.numpy(), trained.w_0 + e_new, rtol=1e-6)
    terms = learner.step(batch, 2)
    assert {"adversarial", "feature_matching", "discriminator"} <= set(
        terms
    ) and "match" not in terms
    assert not np.array_equal(learner.discriminator.w.numpy(), trained.w_0 + e_new)


def test_rates_rise_and_fall():
    config = dataclasses.replace(configs.PersonalizeConfig(), warm_up=4, final_rate=0.1)
    factors = [fine_tuning.rate_factor(i, 100, config) for i in range(101)]
    assert factors[0] == pytest.approx(0.25) and factors[4] == pytest.approx(1, abs=0.01)
    assert factors[50] == pytest.approx(0.55) and factors[100] == pytest.approx(0.1)
    flat = dataclasses.replace(config, warm_up=0, final_rate=1.0)
    assert fine_tuning.rate_factor(0, 100, flat) == fine_tuning.rate_factor(100, 100, flat) == 1.0


class _Killed(Exception):
    pass


@pytest.mark.slow
def test_a_killed_run_continues_to_the_same_end(trained, person, tmp_path, monkeypatch):
    config = _recipe(trained, steps=6, evaluate_every=2, adversarial_from=1.0)
    whole = personalize(trained, *person, config, work_dir=tmp_path / "whole", progress=False)

    step = fine_tuning.PersonLearner.step
    steps, deaths = [], [5]

    def dying(self, batch, number):
        if number in deaths:
            deaths.clear()
            steps.append("died")
            raise _Killed
        steps.append(number)
        return step(self, batch, number)

    monkeypatch.setattr(fine_tuning.PersonLearner, "step", dying)
    with pytest.raises(_Killed):
        personalize(trained, *person, config, work_dir=tmp_path / "cut", progress=False)
    resumed = personalize(trained, *person, config, work_dir=tmp_path / "cut", progress=False)
    assert steps == [0, 1, 2, 3, 4, "died", 4, 5]  # from the state of step 4
    for a, b in zip(whole.weights, resumed.weights):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert [scores["step"] for scores in resumed.history] == [2, 4, 6]
    assert sorted(path.name for path in (tmp_path / "cut" / "intermediates").iterdir()) == [
        f"step-00000{i}.npz" for i in (2, 4, 6)
    ]

    steps.clear()
    again = personalize(trained, *person, config, work_dir=tmp_path / "cut", progress=False)
    # Nothing is left to do.
    assert steps == []
    assert all(np.array_equal(a, b) for a, b in zip(again.weights, resumed.weights))
    # Another seed is another run, from the beginning.
    other = dataclasses.replace(config, seed=1)
    deaths.append(0)
    with pytest.raises(_Killed):
        personalize(trained, *person, other, work_dir=tmp_path / "cut", progress=False)
    assert steps == ["died"]


def _scripted_scores(monkeypatch, ssim):
    """Evaluations give these SSIMs in turn; the list of held-out flags they saw is returned."""
    values, held_out = iter(ssim), []

    def evaluate(self, render, given=None):
        held_out.append(self.held_out)
        scores = {"ssim": next(values), "held_out": self.held_out}
        return {**scores, "face_similarity": 0.0, "landmark_error": None}

    monkeypatch.setattr(Progress, "evaluate", evaluate)
    return held_out


def test_held_out_image_is_not_trained_on_and_ends_the_run(trained, person, monkeypatch):
    images, landmarks = person
    held_out = _scripted_scores(monkeypatch, [0.5, 0.9, 0.4, 0.3, 0.2, 0.1])
    step, seen = fine_tuning.PersonLearner.step, set()

    def watched(self, batch, number):
        for image in batch["image"].numpy():
            seen.add(next(i for i in range(3) if np.array_equal(image, images[i])))
        return step(self, batch, number)

    monkeypatch.setattr(fine_tuning.PersonLearner, "step", watched)
    config = _recipe(
        trained,
        mode="vector",
        steps=20,
        evaluate_every=2,
        holdout_from=3,
        patience=2,
        adversarial_from=1.0,
        warp=0.0,
    )
    avatar = personalize(trained, images, landmarks, config, progress=False)
    assert seen == {0, 1, 2} - {central(landmarks)}  # 16 draws: all others, and never that one
    assert [scores["step"] for scores in avatar.history] == [2, 4]  # as the best was kept
    assert avatar.facts.steps == 4  # the best evaluation, not the last
    assert held_out == [True] * 4  # two without improvement, then no more


def test_warped_copies_are_of_the_images_trained_on(trained, person, monkeypatch):
    """With warp = 1 every batch is of pairs, and none of them comes from the held-out image."""
    images, landmarks = person
    _scripted_scores(monkeypatch, [0.5])
    flat = np.stack([np.full_like(images[0], level) for level in (40, 120, 200)])
    step, levels = fine_tuning.PersonLearner.step, []

    def watched(self, batch, number):
        levels.extend(np.rint(batch["image"].numpy()[:, 0].mean((1, 2))).astype(int))
        return step(self, batch, number)

    monkeypatch.setattr(fine_tuning.PersonLearner, "step", watched)
    config = _recipe(
        trained,
        mode="vector",
        steps=8,
        evaluate_every=8,
        holdout_from=3,
        adversarial_from=1.0,
        warp=1.0,
        warped_pairs=12,
    )
    personalize(trained, flat, landmarks, config, progress=False)
    assert len(levels) == 16
    assert set(levels) == {40, 120, 200} - {int(flat[central(landmarks), 0, 0, 0])}


def test_an_interrupted_run_says_how_to_continue_and_does(trained, person, tmp_path, monkeypatch):
    config = _recipe(trained, mode="vector", steps=6, evaluate_every=6, adversarial_from=1.0)
    step, steps = fine_tuning.PersonLearner.step, []

    def interrupted(self, batch, number):
        steps.append(number)
        if steps == [0, 1, 2]:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, batch, number)

    monkeypatch.setattr(fine_tuning.PersonLearner, "step", interrupted)
    with pytest.raises(TalkingHeadError, match="same command"):
        personalize(trained, *person, config, work_dir=tmp_path, progress=False)
    avatar = personalize(trained, *person, config, work_dir=tmp_path, progress=False)
    assert steps == [0, 1, 2, 3, 4, 5] and avatar.facts.steps == 6


def test_one_image_is_enough(trained, person):
    images, landmarks = person
    avatar = personalize(
        trained, images[:1], landmarks[:1], _recipe(trained, adversarial_from=1.0), progress=False
    )
    assert avatar.facts.images == 1
    assert avatar.facts.steps == trained.config.personalize.single_steps
    np.testing.assert_array_equal(avatar.reference_landmarks, landmarks[0])


def test_refusals(trained, person):
    images, landmarks = person
    with pytest.raises(InputError, match="32, 32"):
        personalize(trained, np.zeros((2, 64, 64, 3), np.uint8), landmarks[:2])
    with pytest.raises(InputError, match="T >= 1"):
        personalize(trained, images[:0], landmarks[:0])
    with pytest.raises(InputError, match="landmarks"):
        personalize(trained, images, landmarks[:2])
    with pytest.raises(InputError, match="finite"):
        personalize(trained, images, landmarks * np.nan)
    with pytest.raises(ConfigError, match="fine_tune, feed_forward, vector"):
        personalize(trained, images, landmarks, _recipe(trained, mode="magic"))


def test_the_settings_are_the_runs(trained, person):
    """Not the preset's: what a run was given stays with its weights."""
    changes = {"steps": 5, "mode": "vector", "adversarial_from": 1.0}
    changes = {f"personalize.{field}": value for field, value in changes.items()}
    run = configs.replace(trained.config, changes)
    avatar = personalize(dataclasses.replace(trained, config=run), *person, progress=False)
    assert avatar.facts.steps == 5 and avatar.mode == "vector" and avatar.config == run


def test_the_best_avatar_is_kept_on_disk(trained, person, tmp_path):
    config = _recipe(trained, steps=2, evaluate_every=2, adversarial_from=1.0)
    avatar = personalize(trained, *person, config, work_dir=tmp_path, progress=False)
    kept = load_avatar(tmp_path / "best")
    assert all(np.array_equal(a, b) for a, b in zip(kept.weights, avatar.weights))
    assert json.loads((tmp_path / "run.json").read_text())["key"]
