"""Photos that should not become sources of a guided avatar: covered, blurred or cut faces.

A hand, a microphone or the picture's edge in such a photo would be copied into the frames made from
it. With several photos the others show what it hides.
"""

import cv2
import numpy as np

from tf_talkinghead.faces.geometry import head_angles
from tf_talkinghead.faces.warping import warp
from tf_talkinghead.metrics import face_mask
from tf_talkinghead.personalization.frame_selection import sharpness

_SIZE = 64  # pixels at which faces are compared
_SMOOTHING = 1.5  # of those pixels, so that shading and misplaced points do not count
_DIFFERENT = 0.16  # of the range of values: a pixel unlike that of the other photos
# A face with this share of such pixels counts as covered. In sixteen frames each of 72 clips of
# training people, a hand before a mouth gave .17, a head turned into the shade .38, all others
# (open mouths, shut lids) less than .1.
_COVERED = 0.13
_TURNED = 15.0  # degrees of yaw off the median: such a face differs by its shading, and is needed
_BLURRED = 0.5  # of the median sharpness
_OUTSIDE = 0.01  # of the square: how far landmarks may lie beyond it
_FEWEST = 4  # photos needed to tell which of them differs from the others


def fit_photos(images: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Which photos show a whole, sharp, uncovered face.

    Args:
      images: uint8 [T, S, S, 3].
      landmarks: float32 [T, 68, 2], fractions.

    Returns:
      bool [T], true for at least half of the photos. With fewer than four, covered and blurred ones
      cannot be detected.
    """
    images, landmarks = np.asarray(images), np.asarray(landmarks)
    beyond = np.maximum(-landmarks, landmarks - 1.0).max((1, 2))
    badness = np.where(beyond > _OUTSIDE, 1.0 + beyond, 0.0)
    if len(images) >= _FEWEST:
        sharp = sharpness(images, landmarks)
        blur = 1.0 - sharp / max(float(np.median(sharp)), 1e-9)
        badness = np.maximum(badness, np.where(blur > 1.0 - _BLURRED, blur, 0.0))
        share = covered_share(images, landmarks)
        yaw = head_angles(landmarks)[..., 0]
        share[np.abs(yaw - np.median(yaw)) > _TURNED] = 0.0
        badness = np.maximum(badness, np.where(share > _COVERED, share, 0.0))
    most = len(images) // 2
    worst = np.argsort(-badness, kind="stable")[:most]
    fit = np.ones(len(images), bool)
    fit[worst[badness[worst] > 0]] = False
    return fit


def covered_share(images: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Share of each face's pixels that are unlike those of most of the photos, [T].

    Faces are warped to their mean landmarks, smoothed, and brought to the same mean and contrast.
    """
    mean = landmarks.mean(0)
    inside = face_mask(mean[None], _SIZE, margin=0.0)[0]
    faces = []
    for image, points in zip(images, landmarks, strict=True):
        small = cv2.resize(image, (_SIZE, _SIZE), interpolation=cv2.INTER_AREA)
        warped = warp(small, points, mean).astype(np.float32)
        warped = cv2.GaussianBlur(warped, (0, 0), _SMOOTHING)
        face = warped[inside] / 255.0  # [P, 3]
        faces.append(face - np.median(face, axis=0))
    faces = np.stack(faces)
    apart = np.abs(faces - np.median(faces, axis=0)).max(-1)  # [T, P]
    return (apart > _DIFFERENT).mean(1)
