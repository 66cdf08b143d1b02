"""The card of an exported avatar, and the digests in it."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest

from tests.face_points import COLLINS
from tests.random_avatars import random_avatar
from tf_talkinghead import files
from tf_talkinghead.export import card
from tf_talkinghead.export.saved_model import export_person
from tf_talkinghead.personalization.avatar import Facts


def test_the_card_of_a_version_is_true(tmp_path):
    avatar, _ = random_avatar("tiny", mode="vector")
    avatar.facts = Facts(
        images=3,
        steps=7,
        loss_before=2.5,
        loss_after=1.25,
        face_similarity=0.5,
        inputs_sha256=["aa", "bb"],
        consent={"statement": "She agreed.", "by": "Ann", "when": "2026-05-04"},
    )
    folder = export_person(avatar, tmp_path, "ann")
    found = json.loads((folder / card.CARD_FILE).read_text())
    expected = {
        "person": "ann",
        "mode": "vector",
        "preset": "tiny",
        "resolution": 32,
        **avatar.facts.to_dict(),
        "settings": {
            "personalize": dataclasses.asdict(avatar.config.personalize),
            "export": dataclasses.asdict(avatar.config.export),
        },
    }
    assert {key: found[key] for key in expected} == expected
    assert found["adain_size"] == len(avatar.psi_hat)
    assert (
        f"max_batch_size {{ value: {found['max_batch_size']} }}"
        in (folder / "batching_params.pbtxt").read_text()
    )
    np.testing.assert_allclose(found["reference_landmarks"], COLLINS, atol=1e-6)
    # As the docstring of arrays_sha256 has it: dtype and shape, then bytes, of every array in
    # order. A scalar counts as an array of one.
    digest = hashlib.sha256()
    for array in [*avatar.weights, avatar.psi_hat]:
        digest.update(f"{array.dtype.str}{array.shape or (1,)}".encode() + array.tobytes())
    assert found["weights_sha256"] == digest.hexdigest()
    assert found["ai_generated"] is True and found["digital_source_type"].endswith(
        "/trainedAlgorithmicMedia"
    )


def test_hashes_tell_values_shapes_types_and_order_apart():
    a, b = np.arange(4, dtype=np.float32), np.ones(2, np.float32)
    kinds = [[a, b], [b, a], [a + 1e-7, b], [a.reshape(2, 2), b], [a.astype(np.float64), b], [a]]
    assert len({files.arrays_sha256(arrays) for arrays in kinds}) == len(kinds)
    assert files.arrays_sha256([a[::-1][::-1], b]) == files.arrays_sha256([a, b])


def test_what_json_has_not_is_refused():
    with pytest.raises(ValueError):
        card.to_json({"loss_after": float("nan")})
