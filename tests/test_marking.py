"""The watermark of exported avatars: every signature with pictures, and what the card says."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from tests.face_points import COLLINS
from tests.random_avatars import random_avatar, random_guided_avatar, weights_sha256
from tf_talkinghead.config import replace
from tf_talkinghead.disclosure.verification import known_avatars
from tf_talkinghead.errors import InputError
from tf_talkinghead.export.bank import export_bank
from tf_talkinghead.export.bank_files import VECTORS_FILE, read_member
from tf_talkinghead.export.guided_bank import export_guided_bank
from tf_talkinghead.export.marking import check_key
from tf_talkinghead.export.saved_model import export_person
from tf_talkinghead.personalization.avatar import render
from tf_talkinghead.provenance import watermark_sentence
from tf_talkinghead.watermark.detection import detect
from tf_talkinghead.watermark.keys import PUBLIC_KEY, key_name

POINTS = COLLINS + np.random.default_rng(0).normal(0, 0.02, (4, 68, 2)).astype(np.float32)
OWN_KEY = bytes(range(32))


@pytest.fixture(scope="module")
def direct():
    return random_avatar("tiny", mode="vector", size=128)[0]


def card_of(version):
    return json.loads((version / "card.json").read_text())


def pictures(version, name, **inputs):
    """Frames of a signature; JPEGs are decoded."""
    result = tf.saved_model.load(str(version)).signatures[name](
        **{key: tf.constant(value) for key, value in inputs.items()}
    )
    if "frames" in result:
        return result["frames"].numpy()
    return np.stack([tf.io.decode_jpeg(one).numpy() for one in result["jpeg_bytes"].numpy()])


def assert_marked(frames, version, plain=None):
    """Each frame carries the id in the card, faintly."""
    mark = card_of(version)["watermark"]
    assert mark["present"] and mark["key"] == "public"
    for frame in frames:
        found = detect([frame], everywhere=False)
        assert found.present and found.id in (int(mark["id"], 16), None), found
    assert detect(frames, everywhere=False).id == int(mark["id"], 16)
    if plain is not None:
        error = np.mean((frames.astype(float) - plain) ** 2)
        assert 0 < error < 255**2 / 10**4.2


def test_a_direct_avatars_frames_and_jpegs_are_marked(direct, tmp_path):
    version = export_person(direct, tmp_path, "ann")
    frames = pictures(version, "serving_default", landmarks=POINTS)
    assert_marked(frames, version, render(direct, POINTS))
    assert_marked(pictures(version, "render_jpeg", landmarks=POINTS), version)
    # Another version has another id.
    assert (
        card_of(version)["watermark"]["id"]
        != card_of(export_person(direct, tmp_path, "bea"))["watermark"]["id"]
    )


def test_a_guided_avatars_four_signatures_are_marked(tmp_path):
    avatar = random_guided_avatar(size=128)
    version = export_person(avatar, tmp_path, "ann")
    gaze = np.concatenate([POINTS, np.full([4, 2, 2], np.nan, np.float32)], 1)
    for name in ("serving_default", "render_jpeg"):
        assert_marked(pictures(version, name, landmarks=POINTS), version)
    for name in ("render_gaze", "render_gaze_jpeg"):
        assert_marked(pictures(version, name, points=gaze), version)
    assert "photographs" in card_of(version)["photo_notice"]


def test_a_banks_frames_carry_the_banks_id(direct, tmp_path):
    version = export_bank(
        direct.config, direct.weights, weights_sha256(), tmp_path, {"ann": direct}
    )
    vectors = np.repeat(direct.psi_hat[None], 4, 0)
    for suffix, dtype in (("", np.float16), ("_float32", np.float32)):
        for name in ("serving_default", "render_jpeg"):
            frames = pictures(
                version, name + suffix, landmarks=POINTS, person=vectors.astype(dtype)
            )
            assert_marked(frames, version)
    member = read_member(version / VECTORS_FILE, "ann").card
    assert "the bank's version" in watermark_sentence(member)


def test_in_a_guided_bank_every_member_has_an_id(tmp_path):
    ann = random_guided_avatar(size=128)
    bea = dataclasses.replace(ann, psi_hat=ann.psi_hat[::-1].copy())
    version = export_guided_bank(
        ann.config, ann.weights, weights_sha256(), tmp_path, {"ann": ann, "bea": bea}
    )
    mark = card_of(version)["watermark"]
    members = np.int32([1, 0, 1, 7])  # 7: a row that was never given, whose frame shows nobody
    frames = pictures(version, "serving_default", landmarks=POINTS, member=members)
    wanted = [mark["rows"]["1"], mark["rows"]["0"], mark["rows"]["1"], mark["id"]]
    assert len({*wanted}) == 3
    for frame, identity in zip(frames[:3], wanted):
        found = detect([frame], everywhere=False)
        assert found.present and found.id in (int(identity, 16), None)
    assert detect(frames[::2][:2], everywhere=False).id == int(wanted[0], 16)
    described = card_of(version)["members"]
    assert {described[name]["watermark"]["id"] for name in ("ann", "bea")} == {*wanted[:2]}
    people = known_avatars(tmp_path)
    assert "row 1" in people[int(wanted[0], 16)] and "bank version 1" in people[int(wanted[3], 16)]


def test_an_own_key_marks_for_its_owner(direct, tmp_path):
    version = export_person(direct, tmp_path, "ann", watermark_key=OWN_KEY)
    frames = pictures(version, "serving_default", landmarks=POINTS)
    mark = card_of(version)["watermark"]
    assert detect(frames, OWN_KEY).id == int(mark["id"], 16)
    assert not detect(frames, everywhere=False).present
    assert mark["key"] != "public" and OWN_KEY.hex() not in json.dumps(card_of(version))


def test_without_a_mark_the_card_says_so(direct, tmp_path):
    plain = dataclasses.replace(direct, config=replace(direct.config, {"export.watermark": False}))
    version = export_person(plain, tmp_path, "ann")
    frames = pictures(version, "serving_default", landmarks=POINTS)
    assert np.abs(frames.astype(int) - render(direct, POINTS)).max() <= 1
    assert "switched off" in watermark_sentence(card_of(version))
    small = export_person(random_avatar("tiny")[0], tmp_path, "bea")
    assert "32 px" in watermark_sentence(card_of(small))
    assert "exported before" in watermark_sentence({"person": "a card of version 0.2"})


def test_another_key_than_the_versions_own_is_refused_with_what_to_do():
    of_private, of_public = (
        {"person": "bank", "watermark": {"key": key_name(key)}} for key in (OWN_KEY, PUBLIC_KEY)
    )
    check_key(of_private, OWN_KEY)
    check_key(of_public, None)
    check_key({"person": "bank"}, OWN_KEY)  # a version without a watermark takes any
    with pytest.raises(
        InputError, match="got public: run scripts.export with --watermark_key=FILE"
    ):
        check_key(of_private, None)
    with pytest.raises(InputError, match="the key public, got .*: leave --watermark_key out"):
        check_key(of_public, OWN_KEY)
