"""Fitting the linear face model on the landmarks of a prepared dataset.

Three alternating steps give the mean face and its depth: pose each frame, take each clip's median
face in the head's own frame, and choose the depth of each point by how it moves when heads turn
(non-rigid structure from motion, with expression as the noise). Then the directions: how the points
of each facial part follow its measures over all frames, by least squares. Face and directions are
made symmetric.
"""

import numpy as np

from tf_talkinghead.driving import face_model, head_pose
from tf_talkinghead.driving.face_model import (
    BROWS,
    LIDS,
    LIPS_AND_JAW,
    NAMES,
    RIGID,
    RIGID_WEIGHTS,
    SHAPE,
    FaceModel,
)
from tf_talkinghead.driving.face_numbers import PersonFace
from tf_talkinghead.errors import InputError
from tf_talkinghead.faces import geometry

_ROUNDS = 10  # of alternation; the last changes no depth by more than 0.001
_POSED = 24  # evenly spaced frames of a clip from which the mean face is made
_AHEAD = np.deg2rad(25.0)  # frames with more yaw are not used for the directions
_RANGE = (0.5, 99.5)  # percentiles of the frames
_PLACE = ("x", "y", "scale")
_BOTH_WAYS = ("yaw", "roll", "x", "y", "gaze_x")
_LEAST_CLIPS = 10

# Which measures move which points; all other points stay. Both sides' lids and brows move together
# in most frames, so that a fit without this restriction could not tell right from left.
_MOVED = {
    LIDS[:1]: (37, 38, 40, 41),
    LIDS[1:]: (43, 44, 46, 47),
    BROWS[:1]: range(17, 22),
    BROWS[1:]: range(22, 27),
    LIPS_AND_JAW: (*range(3, 14), *range(48, 68)),
}


def fit_face_model(clips: list[tuple[np.ndarray, np.ndarray]], made_of: str) -> FaceModel:
    """The face model of some people's clips.

    Args:
      clips: (landmarks float [T, 68, 2], pupils float [T, 2, 2] with NaN where unknown) of each
        clip, T >= 2, in fractions of the square crop; ten clips or more.
      made_of: description of the clips, stored in the file.

    Raises:
      InputError: too few clips, or no clip with pupils.
    """
    if len(clips) < _LEAST_CLIPS:
        raise InputError(f"face model: expected {_LEAST_CLIPS} clips or more, got {len(clips)}")
    landmarks = [np.asarray(points, np.float64) for points, _ in clips]
    mean = _mean_face([points[:: -(-len(points) // _POSED)] for points in landmarks])
    offsets = []
    for points in landmarks:
        flat, pose = _in_head_frame(mean, points)
        ahead = np.abs(head_pose.angles_of(pose.rotation)[:, 0]) < _AHEAD
        offsets.append((flat - np.median(flat, axis=0))[ahead])
    free = dict.fromkeys(NAMES, (-np.inf, np.inf))
    basis = _directions(np.concatenate(offsets))
    model = FaceModel(mean, basis, free, np.zeros(2), made_of)
    model = FaceModel(mean, basis, free, _usual_pupils(model, clips), made_of)
    return FaceModel(mean, basis, _ranges(model, clips), model.pupils, made_of)


def _mean_face(landmarks):
    """Mean face [68, 3] of the clips: eyes' centres 1 apart, z 0 at the eye corners."""
    flat = _symmetric(
        np.mean([_upright(np.median(points, axis=0)) for points in landmarks], axis=0)
    )
    depth = geometry.DEPTH * (flat[16, 0] - flat[0, 0]) / 2.0
    mean = _anchored(np.column_stack([flat, depth]))
    for _ in range(_ROUNDS):
        shapes, seen, power = [], np.zeros(68), 0.0
        for points in landmarks:
            shape, pose = _in_head_frame(mean, points)
            shape = np.median(shape, axis=0)
            shapes.append(shape)
            # The error of a face without depth is each point's depth times the head's turn.
            flat_pose = head_pose.project(pose, np.column_stack([shape, np.zeros(68)]))
            left = (points - flat_pose) / pose.scale[:, None, None]
            turn = pose.rotation[:, :2, 2] - np.median(pose.rotation[:, :2, 2], axis=0)
            seen += np.einsum("ti,tpi->p", turn, left - np.median(left, axis=0))
            power += (turn**2).sum()
        depth = _symmetric(np.column_stack([np.zeros(68), seen / power]))[:, 1]
        flat = _symmetric(np.mean(shapes, axis=0))
        mean = _anchored(np.column_stack([flat, (mean[:, 2] + depth) / 2.0]))
    return mean


def _in_head_frame(mean, points):
    """A clip's faces [T, 68, 2] in the head's frame by its own median face, and their poses."""
    shape = mean
    for _ in range(2):
        pose = head_pose.fit_pose(shape[RIGID], points[:, RIGID], RIGID_WEIGHTS)
        flat = head_pose.unproject(pose, points, mean[:, 2])
        shape = np.column_stack([np.median(flat, axis=0), mean[:, 2]])
    return flat, pose


def _directions(offsets):
    """The basis [8, 68, 2] from offsets [N, 68, 2] and their mirror images, so it is symmetric."""
    offsets = np.concatenate([offsets, geometry.mirrored(offsets, width=0.0)])
    values = face_model.measures(offsets)
    basis = np.zeros((len(SHAPE), 68, 2))
    for names, points in _MOVED.items():
        rows = [SHAPE.index(name) for name in names]
        target = offsets[:, list(points)].reshape(len(offsets), -1)
        fitted, *_ = np.linalg.lstsq(values[:, rows], target, rcond=None)
        basis[np.ix_(rows, list(points))] = fitted.reshape(len(rows), -1, 2)
    return basis


def _usual_pupils(model, clips):
    """Mean of the clips' median pupil places off the middle of the eye corners, eye widths, [2]."""
    places = []
    for points, pupils in clips:
        both = np.concatenate([points, pupils], axis=1).astype(np.float64)
        gaze = PersonFace(model, np.median(both[:, :68], axis=0)).numbers(both)[:, -2:]
        if np.isfinite(gaze).any():
            places.append(np.nanmedian(gaze, axis=0))
    if not places:
        raise InputError("face model: no clip has pupils: prepare the dataset anew")
    return np.array([0.0, np.mean(places, axis=0)[1]])  # symmetric: the mean person looks ahead


def _ranges(model, clips):
    """The range of each number over the frames, the same for right and left.

    Percentiles, since landmarks of single frames may be wrong. Position and size of the head are
    limited by the picture and not by the face: for them the extreme frames count.
    """
    numbers = []
    for points, pupils in clips:
        both = np.concatenate([points, pupils], axis=1).astype(np.float64)
        reference = both[geometry.neutral_frame(points)]
        numbers.append(PersonFace(model, reference).numbers(both))
    numbers = np.concatenate(numbers)
    ends = dict(zip(NAMES, np.nanpercentile(numbers, _RANGE, axis=0).T))
    extremes = dict(zip(NAMES, np.nanpercentile(numbers, (0, 100), axis=0).T))
    ends.update({name: extremes[name] for name in _PLACE})
    for pair in (LIDS, BROWS):
        ends.update(dict.fromkeys(pair, np.mean([ends[name] for name in pair], axis=0)))
    for name in _BOTH_WAYS:
        ends[name] = np.abs(ends[name]).max() * np.array([-1.0, 1.0])
    return {name: (float(low), float(high)) for name, (low, high) in ends.items()}


def _upright(points):
    """A face [68, 2] about the middle between its eyes, upright, the eyes' centres 1 apart."""
    middle = (points[geometry.RIGHT_EYE].mean(0) + points[geometry.LEFT_EYE].mean(0)) / 2.0
    return (points - middle) @ geometry.face_axes(points) / geometry.eye_distance(points)


def _symmetric(flat):
    return (flat + geometry.mirrored(flat, width=0.0)) / 2.0


def _anchored(mean):
    """The mean face moved and scaled so that its eyes' centres are 1 apart about 0, 0, 0."""
    eyes = [mean[part].mean(axis=0) for part in (geometry.RIGHT_EYE, geometry.LEFT_EYE)]
    corners = mean[[36, 39, 42, 45], 2].mean()
    middle = np.array([*((eyes[0] + eyes[1]) / 2.0)[:2], corners])
    return (mean - middle) / np.linalg.norm((eyes[1] - eyes[0])[:2])
