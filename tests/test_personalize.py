"""Personalisation: what each mode moves, that it learns, that a killed run goes on exactly, and what is refused."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from tests.face_points import COLLINS
from tests.random_avatars import random_generator
from tf_talkinghead import config as configs
from tf_talkinghead.config import ConfigError
from tf_talkinghead.driving.scripted_motion import scripted_motion
from tf_talkinghead.errors import InputError, TalkingHeadError
from tf_talkinghead.models.generator import adain_size
from tf_talkinghead.personalization import fine_tuning
from tf_talkinghead.personalization import personalize as room
from tf_talkinghead.personalization.avatar import load_avatar
from tf_talkinghead.personalization.personalize import personalize, recipe, render
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
    import cv2

    from tf_talkinghead.personalization.warps import warp

    image = cv2.resize(portrait, (32, 32), interpolation=cv2.INTER_AREA)
    landmarks = scripted_motion(COLLINS, frames=9)[[0, 2, 6]]
    return np.stack([warp(image, COLLINS, points) for points in landmarks]), landmarks


def _recipe(trained, **changes):
    return dataclasses.replace(recipe(trained.config), **changes)


def _body(trained):
    return fine_tuning.folded_weights(trained.generator)


def test_fine_tuning_learns_and_leaves_the_trained_networks_alone(trained, person):
    images, landmarks = person
    before = [w.copy() for w in trained.generator.get_weights()]
    config = _recipe(
        trained,
        steps=40,
        evaluate_every=20,
        learning_rate=2e-3,
        vector_learning_rate=2e-2,
        adversarial_from=0.9,
    )
    avatar = personalize(trained, images, landmarks, config, progress=False)
    assert avatar.facts["loss_after"] < 0.85 * avatar.facts["loss_before"]
    frames = render(avatar, landmarks)
    assert (
        np.abs(frames.astype(float) - images).mean()
        < 0.7 * np.abs(images.mean((0, 1, 2)) - images.astype(float)).mean() + 20
    )
    assert all(np.array_equal(a, b) for a, b in zip(before, trained.generator.get_weights()))
    changed = [not np.array_equal(a, b) for a, b in zip(_body(trained), avatar.weights)]
    assert sum(changed) >= len(changed) - 2  # an attention gain of exactly 0 may rest
    assert [look["step"] for look in avatar.history] == [20, 40] and avatar.facts["steps"] == 40


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
    from tf_talkinghead.data.drawing import draw_landmarks

    vectors = [
        trained.embedder(x[None] / np.float32(127.5) - 1, draw_landmarks(tf.constant(y[None]), 32))
        for x, y in zip(images, landmarks)
    ]
    expected = trained.generator.project(tf.add_n(vectors) / 3)[0].numpy()
    np.testing.assert_allclose(avatar.psi_hat, expected, rtol=1e-4, atol=1e-5)
    assert (
        avatar.facts["steps"] == 0
        and avatar.facts["loss_before"] == avatar.facts["loss_after"]
        and avatar.history == []
    )


def test_discriminator_starts_at_w_0_plus_e_new_and_moves(trained, person):
    images, landmarks = person
    config = _recipe(trained, adversarial_from=0.0)
    learner = fine_tuning.PersonLearner(trained, images, landmarks, config, 4)
    e_new = fine_tuning.embed(trained.embedder, images, landmarks).numpy()
    np.testing.assert_allclose(learner.discriminator.w.numpy(), trained.w_0 + e_new, rtol=1e-6)
    terms = learner.step({"image": tf.constant(images), "landmarks": tf.constant(landmarks)}, 0)
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


def test_a_killed_run_goes_on_to_the_same_end(trained, person, tmp_path, monkeypatch):
    config = _recipe(trained, steps=6, evaluate_every=2, adversarial_from=1.0)
    whole = personalize(trained, *person, config, work_dir=tmp_path / "whole", progress=False)

    step = fine_tuning.PersonLearner.step
    steps, deaths = [], []

    def dying(self, batch, number):
        if number == 5 and not deaths:
            deaths.append(number)
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
    assert [look["step"] for look in resumed.history] == [2, 4, 6]
    assert sorted(path.name for path in (tmp_path / "cut" / "intermediates").iterdir()) == [
        f"step-00000{i}.npz" for i in (2, 4, 6)
    ]

    steps.clear()
    again = personalize(trained, *person, config, work_dir=tmp_path / "cut", progress=False)
    assert steps == [] and all(
        np.array_equal(a, b) for a, b in zip(again.weights, resumed.weights)
    )  # nothing left to do
    other = dataclasses.replace(config, seed=1)
    personalize(trained, *person, other, work_dir=tmp_path / "cut", progress=False)
    assert steps == list(range(6))  # another run: from the beginning


def test_held_out_image_is_not_trained_on_and_ends_the_run(trained, person, monkeypatch):
    images, landmarks = person
    looks = iter([0.5, 0.9, 0.4, 0.3, 0.2, 0.1])

    def look(self, render):
        assert self.held_out and len(self.images) == 1
        return {
            "ssim": next(looks),
            "held_out": True,
            "face_similarity": 0.0,
            "landmark_error": None,
        }

    monkeypatch.setattr(room.Likeness, "look", look)
    monkeypatch.setattr(room._Run, "avatar", lambda self, step: step)
    config = _recipe(
        trained,
        steps=20,
        evaluate_every=2,
        holdout_from=3,
        patience=2,
        adversarial_from=1.0,
        warp=0.0,
    )
    run = room._Run(trained, images, landmarks, config, None, False)
    assert len(run.used) == 2 and run.held_out not in run.used
    batch = next(iter(run_batches(run)))
    held_out = images[run.held_out]
    assert not any(np.array_equal(image, held_out) for image in batch["image"].numpy())
    assert run.train() == 4  # the best look, not the last
    assert [entry["step"] for entry in run.history] == [2, 4, 6, 8]  # two looks without improvement


def run_batches(run):
    run._pairs = None
    return run._batches(0)


def test_an_interrupted_run_says_how_to_go_on(trained, person, tmp_path, monkeypatch):
    config = _recipe(trained, steps=6, evaluate_every=6, adversarial_from=1.0)
    loop = room.Loop.run

    def interrupted(self):
        self._stop = True
        return loop(self)

    monkeypatch.setattr(room.Loop, "run", interrupted)
    step = fine_tuning.PersonLearner.step
    with pytest.raises(TalkingHeadError, match="same command"):
        personalize(trained, *person, config, work_dir=tmp_path, progress=False)
    assert step is fine_tuning.PersonLearner.step


def test_one_image_is_enough(trained, person):
    images, landmarks = person
    avatar = personalize(
        trained, images[:1], landmarks[:1], _recipe(trained, adversarial_from=1.0), progress=False
    )
    assert (
        avatar.facts["images"] == 1 and avatar.facts["steps"] == recipe(trained.config).single_steps
    )
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


def test_the_recipe_is_the_presets_of_this_version(trained):
    old = configs.replace(trained.config, {"personalize.steps": 12345})
    assert recipe(old) == configs.preset("tiny").personalize
    own = dataclasses.replace(old, preset="mine")
    assert recipe(own).steps == 12345


def test_best_look_is_kept_on_disk(trained, person, tmp_path):
    config = _recipe(trained, steps=2, evaluate_every=2, adversarial_from=1.0)
    avatar = personalize(trained, *person, config, work_dir=tmp_path, progress=False)
    kept = load_avatar(tmp_path / "best")
    assert all(np.array_equal(a, b) for a, b in zip(kept.weights, avatar.weights))
    assert json.loads((tmp_path / "run.json").read_text())["key"]
