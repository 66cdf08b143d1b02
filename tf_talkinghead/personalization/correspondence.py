"""Correspondence of a person's photos: where hair, neck and clothes of one are in the others.

Landmarks say where the face is. The rest is found with dense optical flow (Kroeger et al., Fast
Optical Flow using Dense Inverse Search, ECCV 2016), after a spline has brought the landmarks of one
photo to those of the other. `models.morphing` uses it.
"""

import cv2
import numpy as np
import tensorflow as tf

from tf_talkinghead.models import guidance

GRID = 32  # side of a field of offsets
_SIDE = 128  # pixels of the pictures that are compared
_FARTHEST = 0.06  # of the picture: what seems to have moved farther is no match
_SMOOTH = 2.0  # pixels, standard deviation: hair moves as a whole, not strand by strand
_EDGE = 3.0  # pixels, how softly the offsets end at the face and at the photo's border


def correspondence(images: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Offsets between photos of one person.

    Args:
      images: uint8 [N, S', S', 3].
      landmarks: float32 [N, 68, 2], fractions.

    Returns:
      float16 [N, N, GRID, GRID, 2], (x, y) in fractions of the picture: what is at the place x of
      photo i is at x + offsets[i, j] of photo j brought to the landmarks of photo i. 0 within the
      face, whose landmarks already agree, where photo j ends, and for i = j.
    """
    count, points = len(images), np.float32(landmarks)
    offsets = np.zeros((count, count, GRID, GRID, 2), np.float16)
    if count == 1:
        return offsets
    finder = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    finder.setFinestScale(1)
    grey = [
        cv2.cvtColor(
            cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY
        )
        for image in images
    ]
    flows = guidance.spline(tf.constant(points), tf.tile(points[None], [count, 1, 1, 1]), 2 * GRID)
    for i, flow in enumerate(flows.numpy()):
        outside_face = _outside_face(points[i])
        for j in range(count):
            if i == j:
                continue
            at = cv2.resize(flow[j], (_SIDE, _SIDE), interpolation=cv2.INTER_LINEAR)
            pixels = at * _SIDE - 0.5
            brought = cv2.remap(
                grey[j], pixels, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
            found = finder.calc(grey[i], brought, None) / _SIDE
            found = cv2.GaussianBlur(found, (0, 0), _SMOOTH)
            length = np.linalg.norm(found, axis=-1, keepdims=True)
            found *= np.minimum(1.0, _FARTHEST / np.maximum(length, 1e-6))
            inside = np.float32(((at >= 0.0) & (at <= 1.0)).all(-1))
            known = cv2.GaussianBlur(inside, (0, 0), _EDGE) * outside_face
            offsets[i, j] = cv2.resize(
                found * known[..., None], (GRID, GRID), interpolation=cv2.INTER_AREA
            )
    return offsets


def _outside_face(points):
    """1 outside the convex hull of landmarks [68, 2], 0 within, float32 [_SIDE, _SIDE]."""
    hull = cv2.convexHull(np.int32(np.round(points * _SIDE)))
    within = cv2.fillConvexPoly(np.zeros((_SIDE, _SIDE), np.float32), hull, 1.0)
    return 1.0 - cv2.GaussianBlur(within, (0, 0), _EDGE)
