"""What this project exports, served; servers as in test_serving_conformance.py."""

import concurrent.futures
import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from serving.client import AvatarClient
from serving.servables import Servable
from tests.conformance import Code, refusal
from tests.face_points import COLLINS
from tests.random_avatars import random_avatar
from tf_talkinghead.export.bank import export_bank
from tf_talkinghead.export.card import jpeg_comment
from tf_talkinghead.export.saved_model import export_person
from tf_talkinghead.personalization.avatar import render


@pytest.fixture(scope="module")
def exported(served):
    """Real exports of random weights: "ann" with a model of her own, "bea" and "cem" in the bank.

    Returns name -> Avatar.
    """
    folder = served.models / "exported"
    ann, _ = random_avatar("tiny")
    bea = dataclasses.replace(ann, mode="vector", psi_hat=np.roll(ann.psi_hat, 1))
    cem = dataclasses.replace(ann, mode="vector", psi_hat=ann.psi_hat[::-1].copy())
    export_person(ann, folder, "ann")
    export_bank(bea.config, bea.weights, folder, {"bea": bea, "cem": cem}, COLLINS)
    served.configure("ann", folder=folder / "ann")
    served.configure("bank", folder=folder / "bank")
    yield {"ann": ann, "bea": bea, "cem": cem}
    served.drop("ann")
    served.drop("bank")


def client_of(served, person, **options):
    bank = None if person == "ann" else served.models / "exported" / "bank.vectors.npz"
    return AvatarClient(served.address, person, bank=bank, **options)


def motion(rows, seed=0):
    """COLLINS, a little disturbed: [rows, 68, 2]."""
    return COLLINS + np.random.default_rng(seed).normal(0, 0.02, [rows, 68, 2]).astype(np.float32)


@pytest.mark.parametrize("person", ["ann", "bea", "cem"])
def test_an_exported_avatar_is_served_as_it_was_made(served, exported, person):
    clip = motion(11)
    expected = render(exported[person], clip).astype(int)
    with client_of(served, person, jpeg=False) as avatar:
        assert np.abs(avatar.render(clip) - expected).max() <= 1
        card = avatar.card()
    assert card["person"] == person
    np.testing.assert_allclose(card["reference_landmarks"], COLLINS, atol=1e-6)
    quality = exported[person].config.export.jpeg_quality
    coded = [
        tf.io.decode_jpeg(tf.io.encode_jpeg(np.uint8(frame), quality=quality)).numpy()
        for frame in expected
    ]
    with client_of(served, person, jpeg=True) as avatar:
        assert np.abs(avatar.render(clip) - np.stack(coded).astype(int)).mean() < 2


def test_people_of_an_exported_bank_keep_their_faces_in_one_batch(served, exported):
    clips = {person: motion(6, seed) for seed, person in enumerate(("bea", "cem"))}
    expected = {
        person: render(exported[person], clip).astype(int) for person, clip in clips.items()
    }
    assert np.abs(expected["bea"] - expected["cem"]).mean() > 1

    def call(index):
        person = ("bea", "cem")[index % 2]
        with client_of(served, person, jpeg=False) as avatar:
            row = index % 6
            return (
                np.abs(avatar.render(clips[person][row : row + 1])[0] - expected[person][row]).max()
                <= 1
            )

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(call, range(48)))


FORMS = {
    "fine_tune": {"dtype": "float32"},
    "feed_forward": {"dtype": "float16"},
    "vector": {"dtype": "bfloat16", "bfloat16_compute": True},
}


@pytest.fixture(scope="session")
def forms(tmp_path_factory):
    """A models folder with an avatar of each mode, each in another storage type."""
    folder = tmp_path_factory.mktemp("forms")
    for mode, form in FORMS.items():
        avatar, _ = random_avatar("tiny", seed=3, mode=mode)
        export_person(avatar, folder, f"form_{mode}", **form)
    return folder


@pytest.mark.parametrize("mode", FORMS)
def test_every_mode_and_form_is_rendered_as_in_process(served, forms, mode):
    """The same SavedModel in this process is the reference: one frame at a time, so that batches
    cannot differ.
    """
    name = f"form_{mode}"
    servable = Servable(name, 1, forms / name / "1")
    served.configure(name, folder=forms / name)
    for row in motion(5):
        inputs = {"landmarks": row[None]}
        reference = servable.run("serving_default", inputs, ("frames", "ok"))
        outputs = served.predict(name, inputs).outputs
        frames = tf.make_ndarray(outputs["frames"]).astype(int)
        assert np.abs(frames - reference["frames"]).max() <= 1 and reference["ok"].all()
        reference = servable.run("render_jpeg", inputs, ("jpeg_bytes",))["jpeg_bytes"][0]
        served_jpeg = (
            served.predict(name, inputs, "render_jpeg").outputs["jpeg_bytes"].string_val[0]
        )
        decoded = [tf.io.decode_jpeg(data).numpy().astype(int) for data in (served_jpeg, reference)]
        assert np.abs(decoded[0] - decoded[1]).mean() < 1
    servable.close()
    served.drop(name)


@pytest.mark.parametrize("shape", [(1, 67, 2), (1, 70, 2), (1, 68, 3), (68, 2)])
@pytest.mark.parametrize("signature", ["serving_default", "render_jpeg"])
def test_an_exported_avatar_refuses_landmarks_of_another_shape(served, exported, shape, signature):
    with refusal(Code.INVALID_ARGUMENT):
        served.predict("ann", {"landmarks": np.full(shape, 0.5, np.float32)}, signature)


def test_the_marks_of_an_exported_picture_arrive(served, exported):
    outputs = served.predict("ann", {"landmarks": motion(1)}, "render_jpeg").outputs
    assert jpeg_comment() in tf.make_ndarray(outputs["jpeg_bytes"])[0]
