"""Trained weights: out, in again, and refused in one line where they cannot be used."""

import dataclasses
import json

import numpy as np
import pytest

from tf_talkinghead.config import preset, replace, to_json
from tf_talkinghead.errors import InputError
from tf_talkinghead.models.layers import spectral_layers
from tf_talkinghead.training.checkpoints import Checkpoints, snapshot
from tf_talkinghead.training.meta_learning import MetaLearner
from tf_talkinghead.weights.store import empty, load_trained, save_trained


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shipped")
    trained = empty(preset("tiny"))
    trained.w_0 = np.linspace(-1, 1, 16, dtype=np.float32)
    trained.b, trained.provenance = 0.5, {"identities": ["a", "b"]}
    save_trained(trained, folder)
    return folder, trained


def test_round_trip_to_half_precision(shipped):
    folder, trained = shipped
    loaded = load_trained(folder)
    assert loaded.config == trained.config and loaded.b == 0.5
    np.testing.assert_allclose(loaded.w_0, trained.w_0, atol=1e-3)
    for name in ("embedder", "generator", "V"):
        ours, theirs = (
            getattr(trained, name).trainable_variables,
            getattr(loaded, name).trainable_variables,
        )
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(
                np.float32(a.numpy().astype(np.float16)), b.numpy(), err_msg=a.path
            )
    assert loaded.provenance["identities"] == ["a", "b"] and len(loaded.provenance["sha256"]) == 64
    assert loaded.provenance["dtype"] == "float16"


def test_spectral_norms_are_those_of_the_loaded_kernels(shipped):
    folder, _ = shipped
    for layer in spectral_layers(load_trained(folder).generator)[:6]:
        kernel = layer.kernel.numpy().reshape(-1, layer.kernel.shape[-1])
        # Where two singular values nearly agree the power method stops short of the norm.
        assert layer.sigma().numpy() == pytest.approx(np.linalg.norm(kernel, 2), rel=2e-3)


def test_a_run_gives_its_best_snapshot_and_both_kinds_of_weights(tmp_path):
    config = replace(preset("tiny"), {"meta.dtype": "float32"})
    learner = MetaLearner(config, 3)  # builds, traces nothing
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for step in (1, 2):
        state = snapshot(learner.state())
        state["G_averaged/000.kernel"] = np.full_like(state["G_averaged/000.kernel"], step)
        state["G/000.kernel"] = np.full_like(state["G/000.kernel"], 10 * step)
        checkpoints.save(step, state, {"ssim": 1 / step})
    checkpoints.mark_best(1, {"ssim": 1.0})
    (tmp_path / "config.json").write_text(to_json(config))
    (tmp_path / "run.json").write_text(
        json.dumps({"data": "/x/mine", "held_out": ["c"], "identities": ["a"]})
    )
    trained = load_trained(tmp_path)
    first = trained.generator.trainable_variables[0].numpy()
    assert (
        (first == 1).all()
        and trained.provenance["step"] == 1
        and trained.provenance["held_out"] == ["c"]
    )
    assert trained.provenance["identities"] == ["a"] and trained.provenance["dataset"] == "mine"
    assert (
        load_trained(tmp_path, averaged=False).generator.trainable_variables[0].numpy() == 10
    ).all()
    newest = tmp_path / "checkpoints" / "step-00000002"
    assert (load_trained(newest).generator.trainable_variables[0].numpy() == 2).all()
    with pytest.raises(
        InputError, match="step-00000007: no such snapshot; there are step-00000001, step-00000002"
    ):
        load_trained(newest.with_name("step-00000007"))
    (tmp_path / "checkpoints" / "best.json").unlink()
    assert load_trained(tmp_path).provenance["step"] == 2


def test_refusals(shipped, tmp_path):
    _, trained = shipped
    with pytest.raises(InputError, match="no trained weights.*meta_train"):
        load_trained(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text(to_json(trained.config))
    with pytest.raises(InputError, match="no snapshot yet"):
        load_trained(tmp_path)
    other = tmp_path / "other"
    save_trained(trained, other)
    model = dataclasses.replace(
        trained.config.model, embedding_size=32, embedder_channels=(8, 16, 32)
    )
    (other / "config.json").write_text(to_json(dataclasses.replace(trained.config, model=model)))
    with pytest.raises(InputError, match=r"config.json describes"):
        load_trained(other)
    (other / "config.json").write_text(
        to_json(trained.config).replace('"schema": 1', '"schema": 99')
    )
    with pytest.raises(
        InputError, match=r"config.json: schema: expected 1, got 99.*another version"
    ):
        load_trained(other)
    damaged = tmp_path / "damaged"
    save_trained(trained, damaged)
    data = bytearray((damaged / "weights.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (damaged / "weights.npz").write_bytes(data)
    with pytest.raises(InputError, match="weights.npz: damaged"):
        load_trained(damaged)
    trained.w_0[0] = 1e6
    with pytest.raises(InputError, match="do not fit float16"):
        save_trained(trained, tmp_path / "large")


def test_the_shipped_demo_weights():
    trained = load_trained("demo")
    assert trained.config.preset == "demo" and trained.config.model.image_size == 128
    assert not set(trained.provenance["identities"]) & set(trained.provenance["held_out"])
    # README and CHANGELOG promise demo avatars max_batch_size 16.
    assert trained.config.export == preset("demo").export
