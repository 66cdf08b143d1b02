"""What this project exports, served; servers as in test_serving_conformance.py."""

import base64
import concurrent.futures
import dataclasses
import json
import urllib.error
import urllib.request

import numpy as np
import pytest
import tensorflow as tf

from serving.client import AvatarClient
from serving.servables import Servable
from tests.conformance import Code, refusal
from tests.face_points import COLLINS
from tests.random_avatars import random_avatar, random_guided_avatar, weights_sha256
from tests.xmp import xmp_mark
from tf_talkinghead import provenance
from tf_talkinghead.export.bank import export_bank
from tf_talkinghead.export.saved_model import export_person
from tf_talkinghead.personalization.avatar import render
from tf_talkinghead.watermark.detection import detect


@pytest.fixture(scope="module")
def exported(served):
    """name -> Avatar of random weights: "ann" has a model of her own, the others a bank."""
    folder = served.models / "exported"
    ann, _ = random_avatar("tiny")
    bea = dataclasses.replace(ann, mode="vector", psi_hat=np.roll(ann.psi_hat, 1))
    cem = dataclasses.replace(ann, mode="vector", psi_hat=ann.psi_hat[::-1].copy())
    export_person(ann, folder, "ann")
    export_bank(bea.config, bea.weights, weights_sha256(), folder, {"bea": bea, "cem": cem})
    served.configure("ann", folder=folder / "ann")
    served.configure("bank", folder=folder / "bank")
    yield {"ann": ann, "bea": bea, "cem": cem}
    served.drop("ann")
    served.drop("bank")


def client_of(served, person, **options):
    bank = None if person == "ann" else served.models / "exported" / "bank"
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
    "guided": {"dtype": "float16"},
}


@pytest.fixture(scope="session")
def forms(tmp_path_factory):
    """A models folder with an avatar of each mode, each in another storage type."""
    folder = tmp_path_factory.mktemp("forms")
    for mode, form in FORMS.items():
        if mode == "guided":
            avatar = random_guided_avatar(seed=3)
        else:
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


def test_gaze_of_a_guided_avatar_is_served(served, forms):
    """NaN in both pupils alone is as in the photo; one pupil alone, or infinity, gives ok false."""
    name = "form_guided"
    served.configure(name, folder=forms / name)
    landmarks = motion(1)[0]
    pupils = np.stack([landmarks[36:42].mean(0), landmarks[42:48].mean(0)])
    half = np.where([[True], [False]], np.float32(np.nan), pupils)
    gazes = [np.full((2, 2), np.nan), pupils, pupils + [0.04, 0.0], half, np.full((2, 2), np.inf)]
    points = np.float32([np.concatenate([landmarks, gaze]) for gaze in gazes])
    outputs = served.predict(name, {"points": points}, "render_gaze").outputs
    frames = tf.make_ndarray(outputs["frames"]).astype(int)
    plain = served.predict(name, {"landmarks": landmarks[None]}).outputs
    assert tf.make_ndarray(outputs["ok"]).tolist() == [True, True, True, False, False]
    assert np.abs(frames[0] - tf.make_ndarray(plain["frames"])[0]).max() <= 1
    assert np.abs(frames[2] - frames[1]).max() > 1
    served.drop(name)


@pytest.mark.parametrize("shape", [(1, 67, 2), (1, 70, 2), (1, 68, 3), (68, 2)])
@pytest.mark.parametrize("signature", ["serving_default", "render_jpeg"])
def test_an_exported_avatar_refuses_landmarks_of_another_shape(served, exported, shape, signature):
    with refusal(Code.INVALID_ARGUMENT):
        served.predict("ann", {"landmarks": np.full(shape, 0.5, np.float32)}, signature)


def test_the_mark_of_an_exported_picture_arrives(served, exported):
    outputs = served.predict("ann", {"landmarks": motion(1)}, "render_jpeg").outputs
    picture = tf.make_ndarray(outputs["jpeg_bytes"])[0]
    assert xmp_mark(picture) == (provenance.SOURCE_TYPE, provenance.NOTICE)


def test_the_float32_signatures_of_a_bank_draw_the_same(served, exported):
    """For REST, which cannot carry float16."""
    vectors = np.stack([np.float16(exported[name].psi_hat) for name in ("bea", "cem")])
    inputs = {"landmarks": motion(2), "person": vectors}
    single = {**inputs, "person": np.float32(vectors)}
    for name, output in (("serving_default", "frames"), ("render_jpeg", "jpeg_bytes")):
        half = served.predict("bank", inputs, name).outputs[output]
        whole = served.predict("bank", single, f"{name}_float32").outputs[output]
        assert np.array_equal(tf.make_ndarray(whole), tf.make_ndarray(half))


def test_the_bank_over_rest(served, exported):
    """TensorFlow Serving's REST port cannot make float16 of JSON: hence the float32 signatures."""
    if not served.rest:
        pytest.skip("the embedded server has no REST predictions")
    clip = motion(2)
    vectors = np.float32(np.stack([np.float16(exported[name].psi_hat) for name in ("bea", "cem")]))
    inputs = {"landmarks": clip.tolist(), "person": vectors.tolist()}

    def predict(signature):
        body = json.dumps({"signature_name": signature, "inputs": inputs}).encode()
        request = urllib.request.Request(f"http://{served.rest}/v1/models/bank:predict", body)
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.loads(response.read())["outputs"]

    frames = np.array(predict("serving_default_float32")["frames"])
    for row, name in enumerate(("bea", "cem")):
        assert np.abs(frames[row] - render(exported[name], clip[row : row + 1])[0]).max() <= 1
    jpegs = predict("render_jpeg_float32")["jpeg_bytes"]
    mark = xmp_mark(base64.b64decode(jpegs[0]["b64"]))
    assert mark == (provenance.SOURCE_TYPE, provenance.NOTICE)
    with pytest.raises(urllib.error.HTTPError):
        predict("serving_default")


def test_both_servers_give_the_marked_frames(served):
    """A watermark that every caller gets, whatever serves it."""
    avatar, _ = random_avatar("tiny", size=128)
    folder = served.models / "marked"
    version = export_person(avatar, folder, "marked")
    served.configure("marked", folder=folder / "marked")
    clip = motion(4)
    try:
        with AvatarClient(served.address, "marked", jpeg=False) as client:
            frames, card = client.render(clip), client.card()
    finally:
        served.drop("marked")
    loaded = tf.saved_model.load(str(version)).signatures["serving_default"]
    here = loaded(landmarks=tf.constant(clip))["frames"].numpy()
    assert np.abs(frames.astype(int) - here).max() <= 1
    assert detect(frames, everywhere=False).id == int(card["watermark"]["id"], 16)
