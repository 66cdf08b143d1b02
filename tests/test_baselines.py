"""The nearest image by hand, and a warp that has to undo a known deformation."""

import numpy as np
import pytest

from tests.dlib_reference import detection, fractions
from tf_talkinghead import metrics
from tf_talkinghead.evaluation import baselines


@pytest.fixture(scope="module")
def face(portrait):
    """A 256-px crop of the portrait and its landmarks, [256,256,3] and [68,2]."""
    crop = portrait[0:256, 96:352].copy()
    return crop, fractions(detection(crop), crop)


def test_nearest_takes_the_pose_nearest_by_landmarks(face):
    image, points = face
    images = np.stack([np.full_like(image, level) for level in (10, 20, 30)])
    poses = np.stack([points, points + [0.1, 0], points + [0, 0.1]])
    driving = np.stack([points + [0, 0.09], points + [0.07, 0.01], points - 0.2])
    assert baselines.nearest_index(poses, driving).tolist() == [2, 1, 0]
    assert baselines.nearest(images, poses, driving)[:, 0, 0, 0].tolist() == [30, 20, 10]


def test_warp_onto_itself_changes_nothing(face):
    image, points = face
    result = baselines.warp(image[None], points[None], points[None])
    assert metrics.l1(result, image[None])[0] < 1e-4


def test_warp_undoes_an_affine_motion_inside_the_face(face):
    image, points = face
    shift = np.array([6, -4])  # pixels
    moved = np.roll(image, shift[::-1], axis=(0, 1))
    driving = points + shift / 256
    result = baselines.warp(image[None], points[None], driving[None])
    mask = metrics.face_mask(driving[None], 256, margin=-0.1)
    assert metrics.l1(result, moved[None], mask)[0] < 0.005
    assert metrics.l1(image[None], moved[None], mask)[0] > 0.03
    assert (np.abs(result[0, 0].astype(int) - image[0]).max() <= 2).all()  # the border stays put


def test_warp_survives_landmarks_outside_the_frame(face):
    image, points = face
    result = baselines.warp(image[None], points[None], points[None] + [0.5, -0.4])
    assert result.shape == (1, 256, 256, 3) and result.dtype == np.uint8
