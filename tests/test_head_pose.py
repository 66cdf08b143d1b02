"""Weak-perspective head pose: recovered exactly where there is no error, right to the sign."""

import numpy as np
import pytest

from tf_talkinghead.driving.head_pose import (
    Pose,
    angles_of,
    fit_pose,
    project,
    rotation_of,
    unproject,
)

SHAPE = np.random.default_rng(3).normal(size=(15, 3)) * (1.0, 1.0, 0.5)
WEIGHTS = np.linspace(0.3, 1.0, 15)


def random_poses(count=40):
    rng = np.random.default_rng(5)
    angles = rng.uniform(-1, 1, (count, 3)) * np.deg2rad([60, 40, 80])
    scale, shift = rng.uniform(0.05, 0.4, count), rng.uniform(0, 1, (count, 2))
    return Pose(rotation_of(angles), scale, shift)


@pytest.mark.parametrize("axis, seen", [(0, (1, 0)), (1, (0, 1))])
def test_yaw_turns_to_the_right_and_pitch_downwards(axis, seen):
    angles = np.zeros(3)
    angles[axis] = np.deg2rad(30)
    nose = rotation_of(angles) @ (0.0, 0.0, 1.0)  # towards the camera
    np.testing.assert_allclose(nose[:2], np.multiply(seen, 0.5), atol=1e-12)


def test_roll_is_clockwise():
    right_of_picture = rotation_of(np.deg2rad([0, 0, 90.0])) @ (1.0, 0.0, 0.0)
    np.testing.assert_allclose(right_of_picture, (0, 1, 0), atol=1e-12)  # y is downwards


def test_angles_and_rotations_are_inverses():
    angles = np.random.default_rng(1).uniform(-1.4, 1.4, (200, 3))
    np.testing.assert_allclose(angles_of(rotation_of(angles)), angles, atol=1e-12)


def test_fit_recovers_a_pose_without_error():
    poses = random_poses()
    fitted = fit_pose(SHAPE, project(poses, SHAPE), WEIGHTS)
    for found, true in zip(fitted, poses):
        np.testing.assert_allclose(found, true, atol=1e-9)


def test_fit_is_no_worse_than_any_neighbour():
    """With noise: moving any unknown of the answer does not lessen the weighted error."""
    poses = random_poses(10)
    points = project(poses, SHAPE) + np.random.default_rng(2).normal(0, 0.01, (10, 15, 2))
    fitted = fit_pose(SHAPE, points, WEIGHTS)

    def cost(pose):
        return (WEIGHTS * ((project(pose, SHAPE) - points) ** 2).sum(-1)).sum(-1)

    best = cost(fitted)
    for axis in range(3):
        for step in (-1e-3, 1e-3):
            angles = angles_of(fitted.rotation) + step * np.eye(3)[axis]
            assert (cost(fitted._replace(rotation=rotation_of(angles))) >= best).all()
            if axis < 2:
                moved = fitted._replace(shift=fitted.shift + step * np.eye(2)[axis])
                assert (cost(moved) >= best).all()
    for factor in (0.999, 1.001):
        assert (cost(fitted._replace(scale=fitted.scale * factor)) >= best).all()


def test_unproject_is_the_inverse_of_project():
    poses = random_poses()
    flat = unproject(poses, project(poses, SHAPE), SHAPE[:, 2])
    np.testing.assert_allclose(flat, np.broadcast_to(SHAPE[:, :2], flat.shape), atol=1e-9)
