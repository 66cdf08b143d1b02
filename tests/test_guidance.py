"""Guidance: the spline against scipy's, sampling against scipy's."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import map_coordinates

from tests.face_points import COLLINS
from tf_talkinghead.faces.geometry import expressed, eye_distance, turned
from tf_talkinghead.models import gaze, guidance


def points(*faces):
    return tf.constant(np.stack(faces), tf.float32)


def test_spline_is_the_thin_plate_spline_of_scipy():
    far = 0.5 * COLLINS + 0.25  # from the border, where the outline is held
    target, source = turned(far, yaw=10.0), expressed(far, 0.3, 0.5, 0.2)
    flow = guidance.spline(points(target), points(source)[:, None], 24)[0, 0].numpy()
    to, from_ = (guidance.control_points(points(p))[0].numpy() for p in (target, source))
    # scipy's kernel is r^2 log r, half of ours, so its smoothing is half of ours too.
    reference = RBFInterpolator(
        to.astype(np.float64), from_, smoothing=guidance.STIFFNESS / 2, kernel="thin_plate_spline"
    )
    expected = reference(guidance.grid(24).reshape(-1, 2)).reshape(24, 24, 2)
    np.testing.assert_allclose(flow, expected, atol=2e-4)


def test_landmarks_of_the_target_come_from_those_of_the_source():
    target, source = turned(COLLINS, yaw=12.0, pitch=5.0), expressed(COLLINS, 0.0, 0.6, 0.0)
    size = 256
    flow = guidance.spline(points(target), points(source)[:, None], size)[0, 0].numpy()
    at = [map_coordinates(flow[..., k], (target * size - 0.5).T[::-1], order=1) for k in (0, 1)]
    error = np.linalg.norm(np.stack(at, -1) - source, axis=-1)
    assert error.mean() < 0.01 * eye_distance(COLLINS) and error.max() < 0.05 * eye_distance(
        COLLINS
    )


def test_many_faces_of_one_source_are_bent_as_each_alone():
    """TensorFlow 2.21's oneDNN matmul corrupted the memory here from 12 faces on."""
    faces = points(*(turned(COLLINS, yaw=0.2 * n) for n in range(64)))
    flow = guidance.spline(faces, tf.repeat(points(COLLINS)[:, None], 64, 0), 16)
    for n in (0, 31, 63):
        alone = guidance.spline(faces[n : n + 1], points(COLLINS)[:, None], 16)
        np.testing.assert_allclose(flow[n], alone[0], atol=1e-5)


def test_equal_faces_leave_the_picture_where_it_is():
    flow = guidance.spline(points(COLLINS), points(COLLINS)[:, None], 16)[0, 0]
    np.testing.assert_allclose(flow, guidance.grid(16), atol=1e-5)
    np.testing.assert_allclose(guidance.stretch(flow[None]), 0.0, atol=1e-3)


@pytest.mark.parametrize(
    "face",
    [np.full((68, 2), 0.5), np.stack([np.linspace(0, 1, 68)] * 2, -1), COLLINS * 6 - 3],
    ids=["one point", "collinear", "far outside"],
)
def test_degenerate_landmarks_give_finite_flows(face):
    flow = guidance.spline(points(face), points(COLLINS, turned(COLLINS, yaw=10.0))[None], 16)
    assert np.isfinite(flow).all()
    assert np.isfinite(guidance.stretch(flow[:, 0])).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_sampling_is_bilinear_and_repeats_the_border(dtype):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 255, (3, 9, 7, 2)).astype(dtype)
    flow = rng.uniform(-0.2, 1.2, (2, 5, 6, 2)).astype(np.float32)
    got = guidance.sample(tf.constant(pictures), tf.constant([2, 0]), tf.constant(flow)).numpy()
    for b, row in enumerate((2, 0)):
        places = [flow[b, ..., 1] * 9 - 0.5, flow[b, ..., 0] * 7 - 0.5]
        for channel in range(2):
            expected = map_coordinates(
                pictures[row, ..., channel].astype(float), places, order=1, mode="nearest"
            )
            np.testing.assert_allclose(got[b, ..., channel], expected, atol=1e-3)


def test_stretch_is_the_logarithm_of_the_area():
    # a pixel comes from an eighth of its area
    flow = guidance.grid(16)[None] * np.float32([0.5, 0.25])
    np.testing.assert_allclose(guidance.stretch(tf.constant(flow)), np.log(0.125), atol=1e-3)


def test_gaze_spots_stand_at_the_pupils_and_unknown_ones_nowhere():
    pupils = np.float32([[[0.31, 0.4], [0.69, 0.41]], [[np.nan, np.nan], [0.5, 0.5]]])
    spots = gaze.gaze_spots(tf.constant(pupils), guidance.grid(100)).numpy()[..., 0]
    assert spots[0, 40, 31] > 0.8 and spots[0, 41, 69] > 0.8 and spots[0, 40, 50] < 1e-6
    assert spots[1, 50, 50] > 0.8 and np.isfinite(spots).all() and spots[1, 40, 31] < 1e-6


def test_hair_at_the_upper_border_is_not_sheared():
    """The outline's top lies on the border, which stays: the turn ends before it, as it must."""
    for yaw in (18.0, -18.0):
        target = points(turned(COLLINS, yaw=yaw))
        flow = guidance.spline(target, points(COLLINS)[:, None], 64)[0, 0].numpy()
        shear = np.abs(np.diff(flow[..., 0], axis=0))[:6] * 64  # pixels across for a pixel down
        assert shear.max() < 0.6  # 0.97 and 0.64 where the outline may move as far as it likes
