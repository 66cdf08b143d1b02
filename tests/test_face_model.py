"""The linear face model: its file, its directions, and the fit on clips whose model is known."""

import json

import numpy as np
import pytest

from tf_talkinghead.driving import face_model
from tf_talkinghead.driving.face_model import (
    LIPS_AND_JAW,
    NAMES,
    RIGID,
    SHAPE,
    load_face_model,
    measures,
    to_json,
)
from tf_talkinghead.driving.face_model_fit import fit_face_model
from tf_talkinghead.driving.face_numbers import PersonFace
from tf_talkinghead.errors import InputError
from tf_talkinghead.faces import geometry


def test_each_direction_changes_its_own_measure_by_one():
    np.testing.assert_allclose(measures(load_face_model().basis), np.eye(len(SHAPE)), atol=1e-12)


def test_no_direction_moves_the_points_of_the_pose():
    assert not load_face_model().basis[:, RIGID].any()


def test_model_is_symmetric():
    model = load_face_model()
    flat = model.mean[:, :2]
    np.testing.assert_allclose(geometry.mirrored(flat, width=0.0), flat, atol=1e-4)
    other = [1, 0, 3, 2, 4, 5, 6, 7]  # right and left change places
    np.testing.assert_allclose(
        geometry.mirrored(model.basis, width=0.0), model.basis[other], atol=1e-4
    )


def test_unit_and_origin_of_the_mean_face():
    mean = load_face_model().mean
    assert geometry.eye_distance(mean[:, :2]) == pytest.approx(1.0, abs=1e-4)
    assert mean[[36, 39, 42, 45], 2].mean() == pytest.approx(0.0, abs=1e-4)
    assert mean[30, 2] > 0.4 and mean[0, 2] < -0.4  # the nose towards the camera, the ears away


def test_file_round_trip_and_other_schema(tmp_path):
    model = load_face_model()
    path = tmp_path / "model.json"
    path.write_text(to_json(model))
    again = load_face_model(path)
    np.testing.assert_allclose(again.basis, model.basis, atol=2e-5)
    np.testing.assert_allclose(again.mean, model.mean, atol=1e-5)
    assert to_json(again) == path.read_text() and again.made_of == model.made_of
    other = tmp_path / "other.json"
    other.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 9}))
    with pytest.raises(InputError, match="expected schema 1, got 9"):
        load_face_model(other)


def test_shipped_file_says_what_it_was_made_of():
    tree = json.loads(face_model.PATH.read_text())
    assert "72 people" in tree["made_of"]
    assert face_model.PATH.stat().st_size < 20_000


def synthetic_clips(people=10, frames=30):
    """Clips of the shipped model's faces: people of other widths, turning heads, random numbers."""
    model, rng = load_face_model(), np.random.default_rng(11)
    limits = np.array([model.ranges[name] for name in NAMES])
    for _ in range(people):
        reference = model.mean[:, :2] * rng.uniform(0.9, 1.1, 2) * 0.2 + 0.5
        numbers = rng.uniform(*(0.6 * limits.T), (frames, len(NAMES)))
        numbers[:, NAMES.index("scale")] = rng.uniform(0.95, 1.05, frames)
        numbers[:, 3:5] *= 0.1
        points = PersonFace(model, reference).landmarks(numbers)
        yield points[:, :68], points[:, 68:]


def test_fit_finds_the_model_that_made_the_clips():
    true = load_face_model()
    fitted = fit_face_model(list(synthetic_clips()), "made for the test")
    # Depth comes from turning heads alone: the mean of these people, to a tenth of its extent.
    assert np.corrcoef(fitted.mean[:, 2], true.mean[:, 2])[0, 1] > 0.99
    scale = np.polyfit(true.mean[:, 2], fitted.mean[:, 2], 1)[0]
    assert scale == pytest.approx(1.0, abs=0.1)
    for name in (*LIPS_AND_JAW, "lid_left", "brow_right"):
        k = SHAPE.index(name)
        gap = np.linalg.norm(fitted.basis[k] - true.basis[k]) / np.linalg.norm(true.basis[k])
        assert gap < 0.15, (name, gap)
    assert fitted.ranges["yaw"][1] > 10


def test_too_few_clips_are_refused():
    with pytest.raises(InputError, match="10 clips or more, got 3"):
        fit_face_model(list(synthetic_clips(3, 4)), "")
