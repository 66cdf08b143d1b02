"""Face-model parameters of one person: landmarks to the sixteen numbers, and back.

All numbers are relative to the person's reference landmarks; `expression.py` is the public API.
"""

from collections.abc import Callable

import numpy as np

from tf_talkinghead.driving import face_model, head_pose
from tf_talkinghead.driving.face_model import (
    EYE_CORNERS,
    GAZE,
    NAMES,
    RIGID,
    RIGID_WEIGHTS,
    SHAPE,
    FaceModel,
)

_SCALE = NAMES.index("scale")
_SHAPE = slice(NAMES.index(SHAPE[0]), NAMES.index(GAZE[0]))
_GAZE = slice(NAMES.index(GAZE[0]), None)
_LEAST_LID_GAP = 0.02  # eye distances; a reference with shut eyes would give a unit near 0


class PersonFace:
    """A person's reference face in the head's own frame, to which all numbers are relative."""

    def __init__(self, model: FaceModel, reference: np.ndarray):
        """`reference`: float64 [68, 2] or [70, 2] in the picture; rows 68 and 69 may be NaN."""
        self.model = model
        self.pose = head_pose.fit_pose(model.mean[RIGID], reference[None, RIGID], RIGID_WEIGHTS)
        flat = head_pose.unproject(self.pose, reference[None, :68], model.depth[:68])[0]
        self.shape = np.column_stack([flat, model.depth[:68]])  # [68, 3]
        # Unit of each SHAPE number in eye distances: a lid number of 1 takes away the whole gap.
        gaps = np.maximum(face_model.measures(flat)[:2], _LEAST_LID_GAP)
        self.units = np.concatenate([-gaps, np.ones(len(SHAPE) - 2)])
        corners = flat[np.array(EYE_CORNERS)]  # [2, 2, 2]
        self.eye_width = float(np.linalg.norm(corners[:, 1] - corners[:, 0], axis=-1).mean())
        self.pupils = corners.mean(axis=1) + model.pupils * self.eye_width
        if len(reference) == 70:
            seen = head_pose.unproject(self.pose, reference[None, 68:], model.depth[68:])[0]
            known = np.isfinite(seen).all(axis=-1, keepdims=True)
            self.pupils = np.where(known, seen, self.pupils)

    def numbers(self, landmarks: np.ndarray) -> np.ndarray:
        """The numbers [T, 16] of landmarks float64 [T, 68 or 70, 2]; the gaze NaN where unknown."""
        return self._numbers(self._fitted(landmarks), landmarks)

    def landmarks(self, numbers: np.ndarray) -> np.ndarray:
        """The landmarks and pupils [T, 70, 2] of numbers float64 [T, 16]."""
        offsets = np.einsum("tk,kpi->tpi", numbers[:, _SHAPE] * self.units, self.model.basis)
        pupils = self.pupils + numbers[:, None, _GAZE] * self.eye_width
        return self._placed(self._posed(numbers), offsets, pupils)

    def changed(
        self, landmarks: np.ndarray, change: Callable[[np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """Changes the numbers of landmarks and keeps the detail that the model does not describe.

        Args:
          landmarks: float64 [T, 68 or 70, 2].
          change: function from their numbers [T, 16] to the wanted ones.

        Returns:
          float64 of the landmarks' shape.
        """
        pose = self._fitted(landmarks)
        numbers = self._numbers(pose, landmarks)
        wanted = change(numbers)
        more = (wanted - numbers)[:, _SHAPE] * self.units
        offsets = self._offsets(pose, landmarks)
        offsets = offsets + np.einsum("tk,kpi->tpi", more, self.model.basis)
        pupils = np.full((len(landmarks), 2, 2), np.nan)
        if landmarks.shape[1] == 70:
            pupils = head_pose.unproject(pose, landmarks[:, 68:], self.model.depth[68:])
            pupils = pupils + (wanted - numbers)[:, None, _GAZE] * self.eye_width
        return self._placed(self._posed(wanted), offsets, pupils)[:, : landmarks.shape[1]]

    def pupils_of(self, landmarks: np.ndarray, gaze: np.ndarray) -> np.ndarray:
        """The pupils [T, 2, 2] of landmarks float64 [T, 68, 2] that look aside by `gaze` [T, 2]."""
        pupils = self.pupils + gaze[:, None] * self.eye_width
        return self._placed(self._fitted(landmarks), 0.0, pupils)[:, 68:]

    def _fitted(self, landmarks):
        return head_pose.fit_pose(self.shape[RIGID], landmarks[:, RIGID], RIGID_WEIGHTS)

    def _numbers(self, pose, landmarks):
        shape = face_model.measures(self._offsets(pose, landmarks)) / self.units
        gaze = np.full((len(landmarks), 2), np.nan)
        if landmarks.shape[1] == 70:
            gaze = self._gaze(pose, landmarks[:, 68:])
        return np.concatenate([self._pose_numbers(pose), shape, gaze], axis=1)

    def _offsets(self, pose, landmarks):
        """How far landmarks lie off the reference's in the head's frame, [T, 68, 2]."""
        flat = head_pose.unproject(pose, landmarks[:, :68], self.model.depth[:68])
        return flat - self.shape[:, :2]

    def _gaze(self, pose, pupils):
        """Mean gaze of both eyes [T, 2] of pupils [T, 2, 2]; NaN where neither is known."""
        moved = head_pose.unproject(pose, pupils, self.model.depth[68:]) - self.pupils
        known = np.isfinite(moved).all(axis=-1, keepdims=True)
        count = known.sum(axis=1)
        total = np.where(known, moved, 0.0).sum(axis=1)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan) / self.eye_width

    def _placed(self, pose, offsets, pupils):
        """Points [T, 70, 2] in the picture of offsets [T, 68, 2] and pupils [T, 2, 2]."""
        shape = np.broadcast_to(self.shape[:, :2] + offsets, (len(pupils), 68, 2))
        points = np.concatenate([shape, pupils], axis=1)
        depth = np.broadcast_to(self.model.depth[:, None], (*points.shape[:2], 1))
        return head_pose.project(pose, np.concatenate([points, depth], axis=-1))

    def _posed(self, numbers):
        """Poses in the picture of numbers [T, 16]."""
        rotation = head_pose.rotation_of(np.deg2rad(numbers[:, :3])) @ self.pose.rotation
        scale = self.pose.scale * numbers[:, _SCALE]
        neck = self._neck(self.pose) + self.pose.scale * numbers[:, 3:5]
        turned = scale[:, None] * (rotation @ self.model.neck)[:, :2]
        return head_pose.Pose(rotation, scale, neck - turned)

    def _pose_numbers(self, pose):
        """The six pose numbers [T, 6] of poses in the picture; the inverse of `_posed`."""
        turn = pose.rotation @ self.pose.rotation.transpose(0, 2, 1)
        degrees = np.rad2deg(head_pose.angles_of(turn))
        moved = (self._neck(pose) - self._neck(self.pose)) / self.pose.scale
        scale = (pose.scale / self.pose.scale)[:, None]
        return np.concatenate([degrees, moved, scale], axis=1)

    def _neck(self, pose):
        """Where the head's pivot lies in the picture, [T, 2]."""
        return pose.scale[:, None] * (pose.rotation @ self.model.neck)[:, :2] + pose.shift
