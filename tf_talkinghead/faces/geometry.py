"""Geometry of the 68 landmarks: facial parts, similarity maps, head turns, expressions.

Landmarks are float [68, 2] or [T, 68, 2], (x, y) in fractions of the square crop unless a function
says otherwise, y downwards, in iBUG 300-W order. Pure numpy.
"""

import numpy as np

from tf_talkinghead.errors import InputError

# Indices of facial parts among the 68 points of iBUG 300-W.
JAW, NOSE = slice(0, 17), slice(27, 36)
RIGHT_EYE, LEFT_EYE, MOUTH = slice(36, 42), slice(42, 48), slice(48, 68)
PARTS = (JAW, slice(17, 22), slice(22, 27), NOSE, RIGHT_EYE, LEFT_EYE, MOUTH)
LIDS = ((37, 41), (38, 40), (43, 47), (44, 46))  # (upper, lower) points of both eyes
LIPS = ((61, 67), (62, 66), (63, 65))  # (upper, lower) points of the lips' inner edges
# Points that expressions hardly move: bridge, nostrils, eye corners.
STABLE = [27, 31, 33, 35, 36, 39, 42, 45]

# Depth of the points of an average head, towards the camera, in halves of the face's width (ours,
# rounded).
_HALF_JAW = [-0.65, -0.63, -0.61, -0.59, -0.53, -0.42, -0.25, -0.05]
_BROW = [-0.20, -0.10, 0.00, 0.09, 0.16]
DEPTH = np.array(
    _HALF_JAW
    + [0.01]
    + _HALF_JAW[::-1]
    + _BROW
    + _BROW[::-1]
    + [0.18, 0.29, 0.40, 0.51]
    + [0.28, 0.32, 0.36, 0.32, 0.28]  # nose
    + [-0.10, -0.04, -0.02, 0.00, 0.00, -0.03]
    + [0.00, -0.02, -0.04, -0.10, -0.03, 0.00]  # eyes
    + [-0.03, 0.22, 0.31, 0.33, 0.31, 0.22, -0.03, 0.21, 0.31, 0.32, 0.31, 0.21]  # outer lips
    + [0.07, 0.29, 0.30, 0.29, 0.07, 0.28, 0.30, 0.28],  # inner lips
    np.float64,
)
PIVOT_DEPTH = -0.9  # the head turns about the neck, which lies behind every point of the face

# Just noticeable departures from rest, the units of neutral_frame; lengths in face widths, roll in
# radians.
NOTICED = {"roll": 0.05, "ahead": 0.06, "eyes": 0.015, "level": 0.03, "mouth": 0.03, "place": 0.15}

JAW_DROP = 0.18  # share of half the face's width by which the chin sinks when fully open
LIDS_MEET = 0.85  # share of the gap that closed lids close: a detector never reports a line
_LOWER_LIP = {55: 0.6, 56: 0.95, 57: 1.0, 58: 0.95, 59: 0.6, 65: 0.95, 66: 1.0, 67: 0.95}
_CORNERS = {48: 0.3, 54: 0.3, 60: 0.3, 64: 0.3}
_UPPER_LIP = dict.fromkeys((50, 51, 52, 61, 62, 63), -0.08)
_CHIN = {
    8 + side * k: w for k, w in enumerate((0.95, 0.9, 0.75, 0.55, 0.3, 0.1)) for side in (-1, 1)
}
_DROP = np.zeros(68)  # how far each point follows the jaw down
for _point, _weight in {**_LOWER_LIP, **_CORNERS, **_UPPER_LIP, **_CHIN}.items():
    _DROP[_point] = _weight
_RELABELLED = np.array(  # position i of a mirrored face is position _RELABELLED[i] of the original
    [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31]
    + [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    + [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
)
# Position of the nose's base from eyes (0) to mouth (1) when a head is level; median of 38 clips.
_LEVEL_NOSE = 0.65


def expressed(points, closed, opened, widened):
    """The face with lids closed and mouth moved.

    Args:
      points: [68, 2].
      closed: how far the lids close, 0 to 1.
      opened: how far the mouth opens, 0 to 1.
      widened: -1 (pursed) to 1 (widened).
    """
    points = points.copy()
    for upper, lower in LIDS:
        gap = LIDS_MEET * closed * (points[lower] - points[upper])
        points[upper] += 0.9 * gap
        points[lower] -= 0.1 * gap
    across, down = face_axes(points).T
    unit = np.linalg.norm(points[16] - points[0]) / 2.0
    mouth = points[MOUTH]
    sideways = (mouth - mouth.mean(0)) @ across
    points[MOUTH] += (0.10 * widened - 0.12 * opened) * sideways[:, None] * across
    return points + (JAW_DROP * unit * opened * _DROP)[:, None] * down


def turned(points, yaw=0.0, pitch=0.0, roll=0.0):
    """The face [68, 2] turned by degrees: yaw to the right, pitch downwards, roll clockwise.

    The points get the depth of an average head, are rotated about the neck in three dimensions, and
    are projected back without perspective.
    """
    points = checked_landmarks(points, "points", 2)
    unit = np.linalg.norm(points[16] - points[0]) / 2.0
    axes, centre = face_axes(points), (points[0] + points[16]) / 2.0
    # along the eye line and down the face, in halves of its width
    x, y = ((points - centre) @ axes / unit).T
    z = DEPTH - PIVOT_DEPTH
    a, b, c = np.deg2rad([yaw, pitch, roll])
    x, z = x * np.cos(a) + z * np.sin(a), z * np.cos(a) - x * np.sin(a)
    y, z = y * np.cos(b) + z * np.sin(b), z * np.cos(b) - y * np.sin(b)
    x, y = x * np.cos(c) - y * np.sin(c), x * np.sin(c) + y * np.cos(c)
    return (np.stack([x, y], -1) * unit) @ axes.T + centre


def neutral_frame(points):
    """Index of the most neutral frame of [T, 68, 2]: upright, frontal, eyes open, mouth closed.

    It has the smallest sum of departures from rest, each divided by its unit in NOTICED.
    """
    points = checked_landmarks(points, "points", 3)
    width = np.linalg.norm(points[:, 16] - points[:, 0], axis=-1)
    flat = (
        np.stack([(face - face.mean(0)) @ face_axes(face) for face in points])
        / width[:, None, None]
    )
    roll = [np.arctan2(*face_axes(face)[::-1, 0]) for face in points]
    # twice the nose's distance from the middle of the jaw's ends
    ahead = flat[:, [27, 30], 0].sum(1) - flat[:, [0, 16], 0].sum(1)
    eyes = np.mean([flat[:, lower, 1] - flat[:, upper, 1] for upper, lower in LIDS], axis=0)
    # the nose's length as seen, which a nod changes
    level = flat[:, 33, 1] - flat[:, [39, 42], 1].mean(1)
    mouth = np.mean(flat[:, [65, 66, 67], 1] - flat[:, [63, 62, 61], 1], axis=1)
    place = points.mean(1) / width.mean()
    departures = {
        "roll": roll,
        "ahead": ahead,
        "eyes": eyes - np.percentile(eyes, 75),
        "level": level - np.median(level),
        "mouth": mouth,
        "place": np.linalg.norm(place - np.median(place, axis=0), axis=-1),
    }
    return int(
        np.argmin(sum(np.abs(values) / NOTICED[name] for name, values in departures.items()))
    )


def similarity(source, target):
    """Least-squares similarity (Umeyama, PAMI 1991) from points [P, 2] to [P, 2].

    Returns:
      (matrix [2, 2], offset [2]).
    """
    source_mean, target_mean = source.mean(0), target.mean(0)
    a, b = source - source_mean, target - target_mean
    # In the plane the best rotation and scale is one complex number: sum(conj(a) b) / sum(|a|^2).
    size = max((a * a).sum(), 1e-12)
    cosine, sine = (a * b).sum() / size, (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / size
    matrix = np.array([[cosine, -sine], [sine, cosine]])
    return matrix, target_mean - matrix @ source_mean


def face_axes(points):
    """Axes of the face [68, 2]: unit vectors along the eye line and down, as columns of [2, 2]."""
    across = points[LEFT_EYE].mean(0) - points[RIGHT_EYE].mean(0)
    across = across / max(np.linalg.norm(across), 1e-9)
    return np.stack([across, [-across[1], across[0]]], -1)


def eye_distance(points: np.ndarray) -> np.ndarray:
    """Distance between the eyes' centres, [...], of points [..., 68, 2], in the points' unit."""
    return np.linalg.norm(points[..., 36:42, :].mean(-2) - points[..., 42:48, :].mean(-2), axis=-1)


def mirrored(points: np.ndarray, width: float = 1.0) -> np.ndarray:
    """Points [..., 68, 2] of the mirrored picture, relabelled so that each index keeps its meaning.

    `width` is that of the picture, in the points' unit.
    """
    flipped = points[..., _RELABELLED, :].copy()
    flipped[..., 0] = width - flipped[..., 0]
    return flipped


def head_angles(points: np.ndarray) -> np.ndarray:
    """Rough yaw, pitch and roll of heads in degrees, float32 [..., 3], from landmarks [..., 68, 2].

    Yaw is computed from the position of the nose tip between the sides of the jaw, pitch from that
    of the nose's base between eyes and mouth, and roll from the line of the eyes. They are good
    enough for a histogram, not for measurements. Yaw is positive towards the picture's right, pitch
    downwards, roll clockwise.
    """
    eyes = np.stack([points[..., 36:42, :].mean(-2), points[..., 42:48, :].mean(-2)], axis=-2)
    across = eyes[..., 1, :] - eyes[..., 0, :]
    roll = np.arctan2(across[..., 1], across[..., 0])
    right = across / np.maximum(np.linalg.norm(across, axis=-1, keepdims=True), 1e-6)
    down = np.stack([-right[..., 1], right[..., 0]], axis=-1)

    def along(axis, index):
        return (points[..., index, :] * axis).sum(-1)

    left, end, nose = along(right, 1), along(right, 15), along(right, 30)
    yaw = np.arcsin(np.clip((2 * nose - left - end) / np.maximum(end - left, 1e-6), -1, 1))
    eye_level, base, mouth = (
        (eyes.mean(-2) * down).sum(-1),
        along(down, 33),
        (along(down, 51) + along(down, 57)) / 2,
    )
    pitch = np.arcsin(
        np.clip((base - eye_level) / np.maximum(mouth - eye_level, 1e-6) - _LEVEL_NOSE, -0.5, 0.5)
        * 2
    )
    return np.degrees(np.stack([yaw, pitch, roll], axis=-1)).astype(np.float32)


def checked_landmarks(points, name, rank):
    """A float64 copy of landmarks; InputError, with `name`, for a wrong shape or NaN.

    `rank` is 2 for one face [68, 2] and 3 for frames [T, 68, 2].
    """
    points = np.array(points, np.float64)
    if points.ndim != rank or points.shape[-2:] != (68, 2):
        expected = "[68, 2]" if rank == 2 else "[frames, 68, 2]"
        raise InputError(f"{name} must be landmarks {expected}, got shape {list(points.shape)}")
    if not np.isfinite(points).all():
        raise InputError(f"{name} must be finite, got NaN or infinity")
    return points
