"""Synthetic motion of a photo: a second view of a person of whom there is only one picture.

The photo is warped by a spline. The warped picture becomes the context and the photo the target, so
that the networks always learn to render a real picture.
"""

import cv2
import numpy as np
import tensorflow as tf

from tf_talkinghead.faces.geometry import expressed, turned
from tf_talkinghead.models import guidance

DRAWS = 6  # standard normal numbers that a motion is made from
_YAW, _PITCH, _ROLL = 9.0, 6.0, 5.0  # degrees, standard deviations
_MOUTH = 0.15  # standard deviation of the mouth's opening; 1 is wide open
_MOST = 2.0  # standard deviations, to which draws are clipped
_GRID = 64  # side of the spline's grid


def moved_landmarks(landmarks, draws):
    """Landmarks [68, 2] after a small turn of the head and a change of mouth and eyes.

    Args:
      landmarks: [68, 2], fractions of the crop.
      draws: float [6], standard normal.
    """
    yaw, pitch, roll, opened, widened, closed = np.clip(draws, -_MOST, _MOST)
    points = turned(landmarks, _YAW * yaw, _PITCH * pitch, _ROLL * roll)
    return expressed(points, max(0.0, 0.15 * closed), _MOUTH * abs(opened), 0.4 * widened)


def warp(image, landmarks, moved):
    """The image warped, by the spline of guidance.py, so that its landmarks move.

    Args:
      image: uint8 [S, S, 3].
      landmarks: float [68, 2], fractions of the image.
      moved: float [68, 2], where the landmarks go.

    Returns:
      uint8 [S, S, 3].
    """
    size = image.shape[0]
    to, from_ = (tf.constant(points[None], tf.float32) for points in (moved, landmarks))
    flow = guidance.spline(to, from_[:, None], _GRID)[0, 0].numpy()
    places = cv2.resize(flow, (size, size), interpolation=cv2.INTER_LINEAR) * size - 0.5
    return cv2.remap(image, places, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
