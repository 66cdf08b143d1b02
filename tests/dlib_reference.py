"""dlib called directly, as the independent reference of the face tests."""

import functools
import importlib.util
import os

import cv2
import dlib
import numpy as np


def model_file(name):
    folder = importlib.util.find_spec("face_recognition_models").submodule_search_locations[0]
    return os.path.join(folder, "models", name)


@functools.cache
def predictor():
    return dlib.shape_predictor(model_file("shape_predictor_68_face_landmarks.dat"))


@functools.cache
def recogniser():
    return dlib.face_recognition_model_v1(model_file("dlib_face_recognition_resnet_model_v1.dat"))


def detection(image, upsample=1):
    """dlib's full_object_detection of the first face in uint8 RGB `image`."""
    box = dlib.get_frontal_face_detector()(image, upsample)[0]
    return predictor()(image, box)


def points(detection):
    """The 68 points of a detection in pixels, float64 [68,2]."""
    return np.array([(part.x, part.y) for part in detection.parts()], np.float64)


def fractions(detection, image):
    """The 68 points of a detection as fractions of the image, float32 [68,2]."""
    height, width = image.shape[:2]
    return ((points(detection) + 0.5) / (width, height)).astype(np.float32)


def portrait_variants(portrait):
    """The portrait at 0.6 of its size, as it is, three times larger, and turned by 20 degrees."""
    yield cv2.resize(portrait, None, fx=0.6, fy=0.6)
    yield portrait
    yield cv2.resize(portrait, None, fx=3, fy=3)[:1100, 200:1300].copy()
    turn = cv2.getRotationMatrix2D((220, 120), 20, 1.3)
    yield cv2.warpAffine(portrait, turn, (512, 512))
