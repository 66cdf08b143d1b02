"""The content term as a configuration asks for it."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.face_points import COLLINS
from tf_talkinghead import losses
from tf_talkinghead.config import preset
from tf_talkinghead.errors import InputError
from tf_talkinghead.models import perceptual
from tf_talkinghead.models.dlib_face import face_network
from tf_talkinghead.training import content_loss
from tf_talkinghead.training.content_loss import content_loss

DEMO = preset("demo").losses
LANDMARKS = np.repeat(COLLINS[None], 2, axis=0)


def pair(size=64, seed=0):
    random = np.random.default_rng(seed)
    return [random.uniform(-1, 1, (2, size, size, 3)).astype(np.float32) for _ in range(2)]


def only(**weights):
    """DEMO's losses with all content weights 0 but these."""
    off = dict.fromkeys(
        ("pixel", "gradient", "structure", "parts", "face", "vgg19", "vggface"), 0.0
    )
    return dataclasses.replace(DEMO, **{**off, **weights})


def test_terms_are_those_with_a_weight_and_are_weighted():
    x, x_hat = pair()
    terms = content_loss(only(pixel=3.0, gradient=2.0, structure=0.5), 64)(x, x_hat, LANDMARKS)
    assert set(terms) == {"pixel", "gradient", "structure"}
    assert float(terms["pixel"]) == pytest.approx(3 * float(losses.pixel(x, x_hat)))
    assert float(terms["gradient"]) == pytest.approx(2 * float(losses.gradient(x, x_hat)))
    assert float(terms["structure"]) == pytest.approx(0.5 * float(losses.structure(x, x_hat)))


def test_face_term_compares_the_face_network_on_the_landmarks_box():
    x, x_hat = pair()
    term = content_loss(only(face=2.0, face_box_margin=0.2), 64)(x, x_hat, LANDMARKS)["face"]
    boxes = losses.face_boxes(LANDMARKS, 0.2)
    real, fake = (
        face_network().activations((losses.crop_faces(i, boxes, 150) + 1) * 127.5)
        for i in (x, x_hat)
    )
    assert float(term) == pytest.approx(
        2 * sum(np.abs(r - f).mean() for r, f in zip(real, fake, strict=True)), rel=1e-4
    )


def test_parts_are_the_plain_terms_on_close_ups_of_eyes_and_mouth():
    x, x_hat = pair()
    config = only(pixel=3.0, gradient=2.0, parts=0.5, part_box_margin=0.2)
    terms = content_loss(config, 64)(x, x_hat, LANDMARKS)
    expected = 0.0
    for part in (slice(36, 42), slice(42, 48), slice(48, 68)):
        boxes = losses.face_boxes(LANDMARKS[:, part], 0.2)
        real, fake = (losses.crop_faces(image, boxes, 16) for image in (x, x_hat))
        expected += (3 * losses.pixel(real, fake) + 2 * losses.gradient(real, fake)) / 3
    assert set(terms) == {"pixel", "gradient", "parts"}
    assert float(terms["parts"]) == pytest.approx(0.5 * float(expected), rel=1e-5)


def test_parts_look_at_nothing_but_eyes_and_mouth():
    x, _ = pair()
    chin, lid = x.copy(), x.copy()
    column, row = (COLLINS[8] * 64).astype(int)
    chin[:, row, column] *= -1
    column, row = (COLLINS[37] * 64).astype(int)
    lid[:, row, column] *= -1
    loss = content_loss(only(pixel=1.0, parts=1.0, part_box_margin=0.0), 64)
    assert float(loss(x, chin, LANDMARKS)["parts"]) == 0 < float(loss(x, lid, LANDMARKS)["parts"])


def test_face_term_ignores_what_lies_outside_the_box():
    x, _ = pair()
    changed = x.copy()
    changed[:, :6] = 0.9  # above the brows
    terms = content_loss(only(face=1.0, pixel=1.0), 64)(x, changed, LANDMARKS)
    assert float(terms["face"]) == 0
    assert float(terms["pixel"]) > 0


def test_only_the_rendered_picture_receives_gradients():
    x, x_hat, landmarks = *(tf.Variable(image) for image in pair()), tf.Variable(LANDMARKS)
    loss = content_loss(DEMO, 64)
    with tf.GradientTape() as tape:
        value = tf.add_n(list(loss(x, x_hat, landmarks).values()))
    of_x, of_x_hat, of_landmarks = tape.gradient(value, [x, x_hat, landmarks])
    assert of_x is None and of_landmarks is None
    assert np.isfinite(of_x_hat).all() and np.abs(of_x_hat).max() > 0
    assert not face_network().trainable_weights


def test_equal_pictures_cost_nothing():
    x, _ = pair()
    for value in content_loss(DEMO, 64)(x, x, LANDMARKS).values():
        assert float(value) == pytest.approx(0, abs=1e-4)


def test_the_papers_terms_use_vgg19_on_the_frame_and_vggface_on_the_face(monkeypatch):
    """With random VGGs in place of the weight files: sizes, ranges, boxes and weights."""
    networks = {}

    def random_vgg(name, blocks):
        network = networks.setdefault(name, perceptual.CaffeVGG(blocks, (0.0, 0.0, 0.0), name=name))
        network.built or network.build()
        return network

    monkeypatch.setattr(
        perceptual, "vgg19", lambda path: random_vgg("vgg19", perceptual.VGG19_BLOCKS)
    )
    monkeypatch.setattr(
        perceptual,
        "vggface",
        lambda path: random_vgg("vggface", perceptual.VGGFACE_BLOCKS),
    )
    x, x_hat = pair()
    config = preset("paper").losses
    terms = content_loss(config, 64)(x, x_hat, LANDMARKS)
    assert set(terms) == {"vgg19", "vggface"}
    real, fake = (networks["vgg19"].activations((image + 1) * 127.5) for image in (x, x_hat))
    expected = 0.15 * sum(np.abs(r - f).mean() for r, f in zip(real, fake, strict=True))
    assert float(terms["vgg19"]) == pytest.approx(expected, rel=1e-4)
    boxes = losses.face_boxes(LANDMARKS, 0.1)
    real, fake = (
        networks["vggface"].activations((losses.crop_faces(i, boxes, 224) + 1) * 127.5)
        for i in (x, x_hat)
    )
    expected = 0.025 * sum(np.abs(r - f).mean() for r, f in zip(real, fake, strict=True))
    assert float(terms["vggface"]) == pytest.approx(expected, rel=1e-4)


def test_a_missing_vggface_file_is_named_before_anything_slow(tmp_path):
    config = dataclasses.replace(
        preset("paper").losses, vgg19=0.0, vggface_weights=str(tmp_path / "nowhere.h5")
    )
    with pytest.raises(
        perceptual.MissingWeightsError, match=r"nowhere\.h5.*conv1_1.*--vggface_weights"
    ):
        content_loss(config, 64)


def test_other_sizes_are_refused():
    x, x_hat = pair(32)
    with pytest.raises(InputError, match="x: expected"):
        content_loss(only(pixel=1.0), 64)(x, x_hat, LANDMARKS)
