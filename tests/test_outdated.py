"""Which published avatars are of other weights than those in use, and what `serve` says of them."""

import json

import pytest

from tests.script_runner import run_script
from tests.test_checkpoints import Checkpoints
from tf_talkinghead.errors import InputError
from tf_talkinghead.export.outdated import outdated
from tf_talkinghead.weights.identity import SHIPPED, weights_sha256

GUIDED = json.loads((SHIPPED["guided"] / "provenance.json").read_text())["sha256"]


def publish(models, name, version, sha256, **more):
    folder = models / name / str(version)
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"")
    card = {"trained_weights_sha256": sha256, "date": "2026-01-02T03:04:05", **more}
    (folder / "card.json").write_text(json.dumps(card))


@pytest.fixture
def models(tmp_path):
    """ann was refreshed, bob is old, cem's card is damaged; the bank is old too."""
    models = tmp_path / "models"
    publish(models, "ann", 1, "0" * 64)
    publish(models, "ann", 2, GUIDED)
    publish(models, "bob", 7, "0" * 64, trained_on="guided1")
    publish(models, "cem", 1, "0" * 64)
    (models / "cem" / "1" / "card.json").write_text("{")
    publish(models, "bank", 3, None)
    return models


def test_newest_versions_of_other_weights_are_listed(models):
    assert outdated(models, {GUIDED}) == [
        ("bob", 7, "2026-01-02", "guided1"),
        ("bank", 3, "2026-01-02", "unknown"),
    ]
    assert [one.person for one in outdated(models, {"0" * 64})] == ["ann", "bank"]


def test_weights_are_known_by_name_run_and_snapshot(tmp_path):
    assert weights_sha256("guided") == GUIDED != weights_sha256("demo")
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints")
    found = {}
    for step in (2, 4, 6):
        path = checkpoints.save(step, {"a": [float(step)]})
        found[step] = weights_sha256(str(path))
    assert len(set(found.values())) == 3
    assert weights_sha256(str(tmp_path / "run")) == found[6]
    checkpoints.mark_best(4, {"ssim": 1.0})
    assert weights_sha256(str(tmp_path / "run")) == found[4]
    with pytest.raises(InputError, match="no trained weights"):
        weights_sha256(str(tmp_path / "nothing"))


def test_serve_says_who_and_what_to_do(models, tmp_path):
    writing = [f"--models={models}", "--write_config_only"]
    listed, silent, refused = run_script(
        "serve", writing, [*writing, "--weights="], [*writing, f"--weights={tmp_path}/no"]
    )
    line = listed.stdout.splitlines()[-1]
    assert listed.code == 0 and line.startswith("made with other weights than guided,demo: bob")
    assert "bob (version 7, 2026-01-02), bank (version 3" in line and "--refresh=all" in line
    assert silent.code == 0 and "other weights" not in silent.stdout
    assert refused.code == 1 and "no trained weights" in refused.stderr
