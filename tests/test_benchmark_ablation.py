"""The ablation's own test: a part that is taken away is away, in training and in rendering."""

import dataclasses

import numpy as np
import pytest

from tests.random_avatars import tiny_guided
from tests.test_meta_train import person
from tests.test_records import make_dataset
from tf_talkinghead.benchmark import ablation
from tf_talkinghead.config import replace
from tf_talkinghead.errors import InputError
from tf_talkinghead.models import guidance


def test_every_variant_names_parts_that_exist():
    for changes, patches in (*ablation.VARIANTS.values(), *ablation.SWITCHED.values()):
        assert all(hasattr(owner, attribute) for owner, attribute, _ in patches)
        assert set(changes) <= {
            "model.foreground",
            "model.residual_flow",
            "losses.adversarial",
            "losses.feature_matching",
        }


def test_without_the_spline_photos_stay_as_they_are():
    _, ((owner, attribute, replacement),) = ablation.VARIANTS["no_spline"]
    flow = replacement(getattr(owner, attribute))(np.zeros([3, 68, 2]), np.zeros([3, 2, 68, 2]), 8)
    assert flow.shape == (3, 2, 8, 8, 2)
    np.testing.assert_array_equal(flow[1, 1], guidance.grid(8))


def test_missing_options_are_named():
    for options in ({}, {"people": "b"}, {"people": "b", "data": "a", "weights": "guided"}):
        with pytest.raises(InputError, match="--option=data=DATASET"):
            ablation.run("guided", options)
    with pytest.raises(InputError, match="got no_discriminator"):
        given = {"weights": "guided", "people": "b", "variants": "no_discriminator"}
        ablation.run("guided", given)
    with pytest.raises(InputError, match="not guided"):
        ablation.run("guided", {"weights": "demo", "people": "b"})
    with pytest.raises(InputError, match="got half"):
        ablation.run("guided", {"data": "a", "people": "b", "variants": "whole,half"})
    with pytest.raises(InputError, match="with a guided generator"):
        ablation.run("tiny", {"data": "a", "people": "b"})


@pytest.mark.slow
def test_parts_of_trained_weights_are_switched_off(tmp_path):
    record = person("a", 0, size=64)
    many = dataclasses.replace(
        record, frames=record.frames * 10, landmarks=np.tile(record.landmarks, (10, 1, 1))
    )
    make_dataset(tmp_path, [[many]], size=64)
    options = {"weights": "guided", "people": tmp_path, "shots": "1"}
    figures = ablation.run("demo", options)
    scores = {figures[f"{name}_l1"] for name in ablation.SWITCHED}
    assert len(scores) == len(ablation.SWITCHED), figures


@pytest.mark.slow
def test_variants_are_trained_and_measured(tmp_path, monkeypatch):
    short = [person(name, level, size=64) for level, name in enumerate("abc")]
    records = [
        dataclasses.replace(
            record, frames=record.frames * 10, landmarks=np.tile(record.landmarks, (10, 1, 1))
        )
        for record in short
    ]
    make_dataset(tmp_path, [records], size=64)
    small = replace(tiny_guided(), {"meta.evaluate_every": 4, "meta.variant": "ff"})
    monkeypatch.setattr(ablation.configs, "preset", lambda name: small)
    options = {"data": tmp_path, "people": tmp_path, "steps": "4", "shots": "1"}
    names = ("no_spline", "no_adain")
    figures = ablation.run("guided", options | {"variants": ",".join(names)})
    assert all(np.isfinite(value) for value in figures.values())
    assert len({figures[f"{name}_l1"] for name in names}) == 2
