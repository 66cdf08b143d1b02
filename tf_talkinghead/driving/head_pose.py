"""Head pose by weak perspective: rotation, scale and shift that take a 3D face to its landmarks.

A point of the face lies at scale * (rotation @ point)[:2] + shift in the picture. Axes are the
picture's: x to the right, y down, z towards the camera. Angles are radians here: yaw positive
towards the picture's right, then pitch positive downwards, then roll clockwise, as in
`faces.geometry.turned`. Pure numpy, all frames of a clip at once.
"""

from typing import NamedTuple

import numpy as np

_STEPS = 30  # of Levenberg-Marquardt at most; a clip needs 5 to 10
_CONVERGED = 1e-9  # size of the step at which it ends, in radians and logarithm of the scale


class Pose(NamedTuple):
    """Poses of T heads."""

    rotation: np.ndarray  # [T, 3, 3]
    scale: np.ndarray  # [T]
    shift: np.ndarray  # [T, 2]


def rotation_of(angles: np.ndarray) -> np.ndarray:
    """The rotations [..., 3, 3] of (yaw, pitch, roll) [..., 3] in radians: yaw is applied first."""
    (a, b, c), (p, q, r) = (np.moveaxis(part(angles), -1, 0) for part in (np.cos, np.sin))
    rotation = np.empty((*np.shape(angles)[:-1], 3, 3))
    # The product of the three, written out for speed: it is computed about fifty times a frame.
    rotation[..., 0, :] = np.stack([c * a + r * q * p, -r * b, c * p - r * q * a], axis=-1)
    rotation[..., 1, :] = np.stack([r * a - c * q * p, c * b, r * p + c * q * a], axis=-1)
    rotation[..., 2, :] = np.stack([-b * p, -q, b * a], axis=-1)
    return rotation


def angles_of(rotation: np.ndarray) -> np.ndarray:
    """(yaw, pitch, roll) [..., 3] in radians of rotations [..., 3, 3]; undoes `rotation_of`.

    Pitch must lie within -pi / 2 to pi / 2.
    """
    pitch = np.arcsin(np.clip(-rotation[..., 2, 1], -1.0, 1.0))
    yaw = np.arctan2(-rotation[..., 2, 0], rotation[..., 2, 2])
    roll = np.arctan2(-rotation[..., 0, 1], rotation[..., 1, 1])
    return np.stack([yaw, pitch, roll], axis=-1)


def fit_pose(shape: np.ndarray, points: np.ndarray, weights: np.ndarray) -> Pose:
    """Least-squares poses of a rigid shape.

    Args:
      shape: float [P, 3], points of the face.
      points: float [T, P, 2], their places in the picture.
      weights: float [P], weight of each point's squared error.

    Returns:
      The pose of each frame, which is exact where `points` are an exact projection of `shape`.
    """
    share = weights / weights.sum()
    middle = share @ shape
    shape = shape - middle
    centre = np.einsum("p,tpi->ti", share, points)
    points = points - centre[:, None]
    # The start is the best pose without yaw and pitch: a rotation and scale in the plane.
    flat = np.einsum("p,pi,tpj->tij", share, shape[:, :2], points)
    cosine, sine = flat[:, 0, 0] + flat[:, 1, 1], flat[:, 0, 1] - flat[:, 1, 0]
    power = (share @ shape[:, :2] ** 2).sum()
    scale = np.maximum(np.hypot(cosine, sine) / power, 1e-9)
    # The scale's unknown is its logarithm, so that it stays positive.
    zero = np.zeros(len(points))
    unknowns = np.stack([zero, zero, np.arctan2(sine, cosine), np.log(scale)], axis=-1)
    root = np.sqrt(share)[:, None]
    damping = np.full(len(points), 1e-3)
    error = _residuals(unknowns, shape, points, root)
    for _ in range(_STEPS):
        beside = (unknowns[:, None] + 1e-6 * np.eye(4)).reshape(-1, 4)
        moved = _residuals(beside, shape, np.repeat(points, 4, axis=0), root)
        slopes = (moved.reshape(len(points), 4, -1) - error[:, None]) / 1e-6
        slopes = slopes.transpose(0, 2, 1)  # [T, 2 P, 4]
        normal = np.einsum("tni,tnj->tij", slopes, slopes)
        diagonal = np.einsum("tii->ti", normal)
        system = normal + (damping[:, None] * (diagonal + 1e-12))[:, :, None] * np.eye(4)
        step = -np.linalg.solve(system, np.einsum("tni,tn->ti", slopes, error)[..., None])[..., 0]
        tried = _residuals(unknowns + step, shape, points, root)
        better = (tried**2).sum(-1) <= (error**2).sum(-1)
        unknowns = np.where(better[:, None], unknowns + step, unknowns)
        error = np.where(better[:, None], tried, error)
        damping = np.where(better, damping * 0.1, damping * 10.0)
        if np.abs(step).max() < _CONVERGED:
            break
    rotation, scale = rotation_of(unknowns[:, :3]), np.exp(unknowns[:, 3])
    return Pose(rotation, scale, centre - scale[:, None] * (rotation @ middle)[:, :2])


def project(pose: Pose, shape: np.ndarray) -> np.ndarray:
    """Points [T, P, 2] in the picture of shapes [P, 3] or [T, P, 3]."""
    turned = shape @ pose.rotation.transpose(0, 2, 1)
    return pose.scale[:, None, None] * turned[..., :2] + pose.shift[:, None]


def unproject(pose: Pose, points: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """(x, y) [T, P, 2] in the head's own frame of picture points [T, P, 2] with known depth [P].

    The inverse of `project`; not defined for heads turned by a right angle.
    """
    seen = (points - pose.shift[:, None]) / pose.scale[:, None, None]
    seen = seen - depth[:, None] * pose.rotation[:, None, :2, 2]
    return np.einsum("tij,tpj->tpi", np.linalg.inv(pose.rotation[:, :2, :2]), seen)


def _residuals(unknowns, shape, points, root):
    """Weighted distances [T, 2 P] of the projected shape from the points."""
    turned = np.einsum("tij,pj->tpi", rotation_of(unknowns[:, :3])[:, :2], shape)
    gaps = (np.exp(unknowns[:, 3])[:, None, None] * turned - points) * root
    return gaps.reshape(len(points), -1)
