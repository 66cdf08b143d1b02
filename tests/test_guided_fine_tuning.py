"""Fine-tuning of a guided avatar: each image from the others, D on the full-size window, resume."""

import dataclasses

import cv2
import numpy as np
import pytest
import tensorflow as tf

from tests.face_points import COLLINS
from tests.random_avatars import random_generator, tiny_guided
from tf_talkinghead.driving.scripted_motion import scripted_motion
from tf_talkinghead.export import saved_model
from tf_talkinghead.personalization import fine_tuning
from tf_talkinghead.personalization.frame_selection import central
from tf_talkinghead.personalization.pairs import make_pairs
from tf_talkinghead.personalization.personalize import personalize, render
from tf_talkinghead.personalization.warps import warp
from tf_talkinghead.weights.store import empty


@pytest.fixture(scope="module")
def trained():
    made = empty(tiny_guided())
    made.generator.set_weights(random_generator(tiny_guided()).get_weights())
    size = made.config.model.embedding_size
    made.w_0 = np.random.default_rng(0).normal(0, 1, size).astype(np.float32)
    return made


@pytest.fixture(scope="module")
def person(portrait):
    """Four 64-px images of a portrait in motion, and their landmarks."""
    image = cv2.resize(portrait, (64, 64), interpolation=cv2.INTER_AREA)
    landmarks = np.float32(scripted_motion(COLLINS, frames=9)[[0, 2, 4, 6]])
    return np.stack([warp(image, COLLINS, points) for points in landmarks]), landmarks


def recipe(trained, **changes):
    quick = {"mode": "fine_tune", "learning_rate": 2e-3, "vector_learning_rate": 1e-2}
    quick |= {"ema_decay": 0.5, "batch_size": 2, "steps": 4, "evaluate_every": 4}
    return dataclasses.replace(trained.config.personalize, **(quick | changes))


def pairs_of(trained, images, landmarks, **changes):
    return make_pairs(trained.config.model, images, landmarks, recipe(trained, **changes))


def offered(row):
    """The photos of a row that G may choose from."""
    return row["context"][: row["sources"]].tolist()


def test_every_ordered_pair_occurs_and_the_target_is_never_its_own_source(trained, person):
    images, landmarks = person
    pairs, seen = pairs_of(trained, images, landmarks, warp=0.0), set()
    for number in range(200):
        row = pairs.draw(np.random.default_rng(number))
        (target,) = [i for i in range(4) if np.array_equal(row["image"], images[i])]
        np.testing.assert_array_equal(row["landmarks"], landmarks[target])
        seen |= {(source, target) for source in offered(row)}
    assert seen == {(a, b) for a in range(4) for b in range(4) if a != b}


def test_a_batch_is_the_same_for_the_same_number(trained, person):
    first, again = (
        pairs_of(trained, *person, warp=0.5).draw(np.random.default_rng(3)) for _ in range(2)
    )
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])


@pytest.mark.parametrize("count", [1, 3])
def test_moved_copies_are_of_the_target_and_the_target_is_real(trained, person, count):
    images, landmarks = person[0][:count], person[1][:count]
    pairs = pairs_of(trained, images, landmarks, warp=1.0, warped_pairs=6)
    for number in range(20):
        row = pairs.draw(np.random.default_rng(number))
        (target,) = [i for i in range(count) if np.array_equal(row["image"], images[i])]
        copies = {index for index in range(count, count + 6) if index % count == target}
        assert set(offered(row)) <= copies


def test_no_image_helps_to_render_itself(trained, person):
    """Its own pixels are changed: the frame made from the others stays as it was."""
    images, landmarks = person
    changed = images.copy()
    changed[0] = 255 - changed[0]  # the frontal one, near all others
    learners = [
        fine_tuning.PersonLearner(trained, pairs_of(trained, each, landmarks), recipe(trained), 4)
        for each in (images, changed)
    ]
    for learner in learners:  # e_NEW is of all images
        learner.averaged_psi_hat.assign(learners[0].averaged_psi_hat)
    before, after = (learner.render_each(4).astype(int) for learner in learners)
    assert np.abs(before[0] - after[0]).max() == 0
    assert np.abs(before - after).max() > 20  # the others see it


def test_fine_tuning_learns_carries_the_photos_and_is_exported(trained, person, tmp_path):
    images, landmarks = person
    before = [weight.copy() for weight in trained.generator.get_weights()]
    config = recipe(trained, steps=30, evaluate_every=30, adversarial_from=1.0)
    avatar = personalize(trained, images, landmarks, config, progress=False)
    assert avatar.facts.loss_after < 0.8 * avatar.facts.loss_before
    assert avatar.mode == "fine_tune" and 1 <= len(avatar.photos) <= 4
    assert all(np.array_equal(a, b) for a, b in zip(before, trained.generator.get_weights()))
    body = fine_tuning.folded_weights(trained.generator)
    assert any(not np.allclose(a, b) for a, b in zip(body, avatar.weights))
    version = saved_model.export_person(avatar, tmp_path, "ann")
    serve = tf.saved_model.load(str(version)).signatures["serving_default"]
    frames = serve(landmarks=tf.constant(landmarks))["frames"].numpy().astype(int)
    assert np.abs(frames - render(avatar, landmarks)).max() <= 1


def test_d_takes_part_on_the_full_size_window_from_w_0_plus_e_new(trained, person):
    images, landmarks = person
    config = recipe(trained, adversarial_from=0.0)
    pairs = pairs_of(trained, images, landmarks)
    learner = fine_tuning.PersonLearner(trained, pairs, config, 4)
    e_new = fine_tuning.embed(trained.embedder, images, landmarks).numpy()
    np.testing.assert_allclose(learner.discriminator.w.numpy(), trained.w_0 + e_new, rtol=1e-6)
    batch = fine_tuning.stacked([pairs.draw(np.random.default_rng(i)) for i in range(2)])
    terms = learner.step(batch, 0)
    assert {"adversarial", "feature_matching", "discriminator"} <= set(terms)
    assert not np.array_equal(learner.discriminator.w.numpy(), trained.w_0 + e_new)


@pytest.mark.slow
def test_a_killed_run_continues_to_the_same_numbers(trained, person, tmp_path, monkeypatch):
    config = recipe(trained, mode="vector", evaluate_every=2, adversarial_from=1.0, warp=0.5)
    whole = personalize(trained, *person, config, progress=False)
    step = fine_tuning.PersonLearner.step

    def dying(self, batch, number):
        if number == 3:
            raise KeyboardInterrupt
        return step(self, batch, number)

    monkeypatch.setattr(fine_tuning.PersonLearner, "step", dying)
    with pytest.raises(KeyboardInterrupt):
        personalize(trained, *person, config, work_dir=tmp_path, progress=False)
    monkeypatch.setattr(fine_tuning.PersonLearner, "step", step)
    resumed = personalize(trained, *person, config, work_dir=tmp_path, progress=False)
    assert resumed.history == whole.history
    np.testing.assert_array_equal(resumed.psi_hat, whole.psi_hat)


def test_vector_trains_psi_alone_and_never_on_the_held_out_image(trained, person, monkeypatch):
    images, landmarks = person
    step, seen = fine_tuning.PersonLearner.step, []

    def watched(self, batch, number):
        seen.append(self.pairs.images)
        return step(self, batch, number)

    monkeypatch.setattr(fine_tuning.PersonLearner, "step", watched)
    config = recipe(trained, mode="vector", holdout_from=4, adversarial_from=1.0)
    avatar = personalize(trained, images, landmarks, config, progress=False)
    held_out = images[central(landmarks)]
    assert seen and not any((each == held_out).all((1, 2, 3)).any() for each in seen)
    assert avatar.history[-1]["held_out"]
    assert any((held_out == each).all() for each in avatar.photos.images)  # but shown
    body = fine_tuning.folded_weights(trained.generator)
    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(body, avatar.weights))
    e_new = fine_tuning.embed(trained.embedder, images, landmarks)
    assert not np.allclose(avatar.psi_hat, trained.generator.project(e_new[None])[0], atol=1e-4)
