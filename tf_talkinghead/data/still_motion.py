"""Made-up motion of a photo: a second view of somebody of whom there is only
one picture, by bending it.

The bent picture becomes the context and the photo the target, so that what is learned
to be drawn is always real.
"""

import cv2
import numpy as np
import tensorflow as tf

from tf_talkinghead.faces.geometry import expressed, turned
from tf_talkinghead.models import guidance

DRAWS = 6  # standard normal numbers that a motion is made from
_YAW, _PITCH, _ROLL = 9.0, 6.0, 5.0  # degrees, standard deviations
_MOUTH = 0.15  # of how far it opens
_MOST = 2.0  # standard deviations
_GRID = 64


def moved_landmarks(landmarks, draws):
    """Landmarks [68, 2] after a small turn of the head and a change of the mouth.

    Draws: float [6], standard normal.
    """
    yaw, pitch, roll, opened, widened, closed = np.clip(draws, -_MOST, _MOST)
    points = turned(landmarks, _YAW * yaw, _PITCH * pitch, _ROLL * roll)
    return expressed(points, max(0.0, 0.15 * closed), _MOUTH * abs(opened), 0.4 * widened)


def bend(image, landmarks, moved):
    """`image` uint8 [S, S, 3] bent so that `landmarks` [68, 2] come to lie at `moved`, by the
    thin-plate spline of guidance.py.
    """
    size = image.shape[0]
    to, from_ = (tf.constant(points[None], tf.float32) for points in (moved, landmarks))
    flow = guidance.spline(to, from_[:, None], _GRID)[0, 0].numpy()
    places = cv2.resize(flow, (size, size), interpolation=cv2.INTER_LINEAR) * size - 0.5
    return cv2.remap(image, places, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
