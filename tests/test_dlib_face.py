"""dlib's face-recognition network in Keras against dlib itself, on a real face."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_talkinghead.benchmark.networks import count_parameters
from tf_talkinghead.errors import InputError
from tf_talkinghead.models import dlib_face
from tf_talkinghead.models.dlib_face import (
    FaceNetwork,
    TensorReader,
    face_network,
    weights_path,
)


@pytest.fixture(scope="module")
def chip():
    """An aligned 150-px face by dlib itself, uint8 [150, 150, 3]."""
    import dlib
    from skimage import data

    image = data.astronaut()
    found = dlib.get_frontal_face_detector()(image, 1)[0]
    predictor = dlib.shape_predictor(
        str(weights_path().parent / "shape_predictor_68_face_landmarks.dat")
    )
    return dlib.get_face_chip(image, predictor(image, found), 150, 0.25)


@pytest.fixture(scope="module")
def theirs():
    import dlib

    return dlib.face_recognition_model_v1(str(weights_path()))


def test_equals_dlib_on_a_real_face(chip, theirs):
    darker = (chip * 0.5).astype(np.uint8)
    for face in (chip, darker, np.ascontiguousarray(chip[:, ::-1])):
        expected = np.array(theirs.compute_face_descriptor(face))
        np.testing.assert_allclose(
            face_network()(face[None].astype(np.float32))[0], expected, atol=1e-5
        )


def test_equals_dlib_in_a_batch_and_inside_a_function(chip, theirs):
    noise = np.random.default_rng(0).integers(0, 256, (150, 150, 3), dtype=np.uint8)
    faces = np.stack([chip, noise])
    expected = np.array([theirs.compute_face_descriptor(face) for face in faces])
    vectors = tf.function(lambda images: face_network()(images))(faces.astype(np.float32))
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_activations_end_in_what_the_vector_is_made_of(chip):
    activations = face_network().activations(chip[None].astype(np.float32))
    assert [tuple(a.shape) for a in activations] == [
        (1, 35, 35, 32),
        (1, 17, 17, 64),
        (1, 8, 8, 128),
        (1, 4, 4, 256),
    ]
    assert all(np.all(a >= 0) and np.any(a > 0) for a in activations)


def test_gradient_reaches_the_picture_and_no_weight(chip):
    images = tf.Variable(chip[None].astype(np.float32))
    network = face_network()
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(network(images)[:, 0])
    gradient = tape.gradient(value, images).numpy()
    assert np.isfinite(gradient).all()
    direction = np.sign(gradient)
    step = 0.05
    ahead, behind = (
        float(network(np.clip(chip[None] + s * step * direction, 0, 255))[0, 0]) for s in (1, -1)
    )
    assert (ahead - behind) / (2 * step) == pytest.approx(
        float((gradient * direction).sum()), rel=0.05
    )
    assert not network.trainable_weights
    assert count_parameters(network) == 0


def test_it_is_built_once_and_has_the_published_size():
    assert face_network() is face_network()
    assert 5.5e6 < sum(np.prod(weight.shape) for weight in face_network().weights) < 5.7e6


def test_it_survives_a_keras_file(chip, tmp_path):
    face_network().save(tmp_path / "face.keras")
    loaded = keras.saving.load_model(tmp_path / "face.keras")
    assert isinstance(loaded, FaceNetwork)
    images = chip[None].astype(np.float32)
    np.testing.assert_array_equal(loaded(images), face_network()(images))


def test_bad_input_is_refused_by_name(chip):
    with pytest.raises(
        InputError, match=r"images: expected floats \[B, 150, 150, 3\] in \[0, 255\], got uint8"
    ):
        face_network()(chip[None])
    with pytest.raises(InputError, match="images: expected .* got shape"):
        face_network()(np.zeros((1, 128, 128, 3), np.float32))
    with pytest.raises(InputError, match="images: expected .* got values"):
        face_network()(chip[None].astype(np.float32) - 100)


def test_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "other.dat"
    path.write_bytes(bytes(range(256)) * 100)
    with pytest.raises(InputError, match=r"other\.dat: not dlib's face-recognition network"):
        TensorReader(path).next(4736)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(dlib_face.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="install the package face_recognition_models"):
        weights_path()
