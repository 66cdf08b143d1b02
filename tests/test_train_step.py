"""The adversarial step: which loss moves what, micro-batches, and every term by hand."""

import numpy as np
import pytest
import tensorflow as tf

from tests.train_once import VIDEOS, batch, settings
from tf_talkinghead import losses
from tf_talkinghead.config import LossConfig
from tf_talkinghead.images import to_float
from tf_talkinghead.training.checkpoints import snapshot
from tf_talkinghead.training.meta_learning import MetaLearner, decayed
from tf_talkinghead.training.optimizers import Adam, LazyAdam, OptimizedNetworks
from tf_talkinghead.training.train_step import AdversarialStep, Synthesis


def toy(adversarial_weight=1.0, discriminator_steps=1, W=True, micro_batches=1):
    """A step whose generator is one number a, D's score is mean(x) (w + W_i) and whose features are
    d x: hand-checkable.
    """
    a, d, rows = tf.Variable(0.5), tf.Variable(2.0), tf.Variable([[0.1], [0.2], [0.3]])
    weights = LossConfig(adversarial=adversarial_weight, feature_matching=10.0, match=10.0)

    def discriminate(x, y, part):
        features = d * tf.reduce_mean(x, axis=[1, 2, 3])
        return features * tf.gather(rows, part["index"])[:, 0], [features]

    step = AdversarialStep(
        weights=weights,
        content=lambda x, x_hat, landmarks: {"pixel": losses.pixel(x, x_hat)},
        synthesise=lambda part, y: Synthesis(
            a * tf.ones_like(to_float(part["image"])),
            tf.repeat(a[None, None], len(part["index"]), 0),
        ),
        discriminate=discriminate,
        generator=OptimizedNetworks([], [([a], Adam(0.0))]),
        discriminator=OptimizedNetworks([], [([d], Adam(0.01)), ([rows], LazyAdam(0.01))]),
        discriminator_steps=discriminator_steps,
        W=rows if W else None,
        micro_batches=micro_batches,
    )
    return step, a, d, rows


def toy_batch():
    image = np.full((2, 8, 8, 3), 255, np.uint8)  # x = 1
    return {
        "image": tf.constant(image),
        "landmarks": tf.fill([2, 68, 2], 0.5),
        "index": tf.constant([0, 2]),
    }


def test_every_term_by_hand():
    step, *_ = toy()
    terms = {name: float(value) for name, value in step(toy_batch()).items()}
    # x = 1, x_hat = a = 0.5, d = 2, rows 0.1 and 0.3: D(x_hat) = 2 * 0.5 * (0.1, 0.3), D(x) = 2 *
    # (0.1, 0.3)
    assert terms["pixel"] == pytest.approx(0.5)
    assert terms["adversarial"] == pytest.approx(-0.2)
    assert terms["feature_matching"] == pytest.approx(10 * abs(2 * 0.5 - 2 * 1.0))
    assert terms["match"] == pytest.approx(10 * (0.4 + 0.2) / 2)
    assert terms["loss"] == pytest.approx(0.5 - 0.2 + 10.0 + 3.0)
    assert terms["discriminator"] == pytest.approx(
        ((1 + 0.1) + (1 + 0.3)) / 2 + ((1 - 0.2) + (1 - 0.6)) / 2
    )
    # d loss / d a: -1 (pixel), -d row (adversarial), -10 d (features), and 10 (match: a lies above
    # both rows)
    assert terms["gradient_norm"] == pytest.approx(abs(-1 - 2 * 0.2 - 20 + 10), rel=1e-5)


def test_rows_of_w_move_by_hinge_and_match_and_only_those_of_the_batch():
    with_match, without = toy()[0], toy(W=False)[0]
    norms = [
        float(step(toy_batch())["discriminator_gradient_norm"]) for step in (with_match, without)
    ]
    # hinge: d/dd = mean(row) (0.5 - 1) = -0.1; d/drow = d (0.5 - 1) / 2 = -0.5 each; match: -10/2
    # each besides
    assert norms[1] == pytest.approx(np.sqrt(0.1**2 + 2 * 0.5**2), rel=1e-5)
    assert norms[0] == pytest.approx(np.sqrt(0.1**2 + 2 * 5.5**2), rel=1e-5)
    step, _, _, rows = toy()
    step(toy_batch())
    assert rows[1, 0] == 0.2 and rows[0, 0] > 0.1 and rows[2, 0] > 0.3


def test_without_the_adversary_the_discriminator_rests():
    step, _, d, rows = toy()
    terms = step(toy_batch(), adversarial=False)
    assert set(terms) == {"pixel", "loss", "gradient_norm"}
    assert d.numpy() == 2.0 and float(terms["gradient_norm"]) == pytest.approx(1.0)
    np.testing.assert_allclose(rows[:, 0], [0.1, 0.2, 0.3])


def test_discriminator_steps_are_counted():
    for count in (1, 2, 3):
        step = toy(discriminator_steps=count)[0]
        step(toy_batch())
        _, optimizer = step.discriminator.groups[0]
        assert optimizer.count == count


FF = {"meta.variant": "ff", "meta.discriminator_steps": 1}


@pytest.mark.parametrize(
    "changes", [{}, pytest.param(FF, marks=pytest.mark.slow)], ids=["ft", "ff"]
)
def test_two_micro_batches_equal_one_batch(changes):
    """Every network, optimizer slot and average after three updates; float32 sums in another order,
    so 5e-5 absolute.
    """
    states = []
    for parts in (1, 2):
        learner = MetaLearner(settings(**{"meta.micro_batches": parts, **changes}), VIDEOS)
        before = snapshot(learner.state())
        for number in range(3):
            learner.step(
                {name: tf.constant(value) for name, value in batch(number).items()}, number
            )
        states.append(snapshot(learner.state()))
    for name, value in states[0].items():
        np.testing.assert_allclose(states[1][name], value, rtol=0, atol=5e-5, err_msg=name)
    moved = {
        name.split("/")[0]
        for name, value in states[0].items()
        if not np.array_equal(value, before[name])
    }
    optimizers = {"generator_optimizer", "discriminator_optimizer"}
    assert {"E", "G", "V", "D", "E_averaged", "G_averaged"} | optimizers <= moved
    if not changes:  # rows 0, 1, 2, 3 and 5 were in the three batches, row 4 was not
        same = (states[0]["D/W"] == before["D/W"]).all(axis=1)
        np.testing.assert_array_equal(same, [False, False, False, False, True, False])


@pytest.mark.slow
def test_bfloat16_trains_float32_variables():
    learner = MetaLearner(settings(**{"meta.dtype": "mixed_bfloat16"}), VIDEOS)
    before = snapshot(learner.state())
    first, last = None, None
    for number in range(4):
        last = learner.step({name: tf.constant(value) for name, value in batch(0).items()}, number)
        first = first or last
    after = snapshot(learner.state())
    assert all(np.isfinite(value).all() for value in after.values())
    assert {value.dtype for value in after.values()} == {np.dtype("float32"), np.dtype("int64")}
    assert any(
        not np.array_equal(after[name], before[name]) for name in after if name.startswith("G/")
    )
    assert float(last["pixel"]) < float(first["pixel"]) * 1.2


def test_rates_fall_to_zero_at_the_end_and_no_device_is_read(monkeypatch):
    learner = MetaLearner(settings(**{"meta.steps": 100, "meta.rate_decay": 0.5}), VIDEOS)
    (optimizer,) = learner.optimizers["generator"]

    def read(_):
        raise AssertionError("the device was read")

    monkeypatch.setattr(type(optimizer.rate), "numpy", read)
    for number, share in ((0, 1.0), (50, 1.0), (75, 0.5), (99, 0.02)):
        learner.set_rates(number)
        assert learner.rates()["rate/generator"] == pytest.approx(1e-3 * share)
    monkeypatch.undo()
    assert optimizer.rate.numpy() == pytest.approx(2e-5)
    assert decayed(5, 100, 0.0) == decayed(0, 100, 1.0) == 1.0 and decayed(99, 100, 1.0) == 0.01
