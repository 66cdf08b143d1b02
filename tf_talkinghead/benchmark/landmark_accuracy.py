"""Accuracy of tracked landmarks against detected ones, relative to the detector's repeatability.

The error is the mean distance over the 68 points in percent of the distance between the eyes'
centres. Repeatability is the error between detections in a frame and in the same frame shifted by a
few whole pixels, after undoing the shift: no landmark error can be lower, and tracking should come
close to it. The detector is the one used for preparation, LandmarkModel.detect on the whole frame;
dlib's unrefined result is measured for comparison. Faces with unreliable landmarks
(landmarks.UNSURE) are excluded, as in a dataset, and counted.
"""

import itertools

import cv2
import numpy as np

from tf_talkinghead.data import video
from tf_talkinghead.faces import geometry, landmarks, tracking

# Frames per clip; every 6th is compared; 3 random shifts each, of up to 6 px.
_FRAMES, _STEP, _SHIFTS, _REACH = (75, 6, 3, 6)


def accuracy(paths, model, every: int = 5, seed: int = 0) -> dict[str, float]:
    """Landmark errors over the first 75 frames of some clips.

    Args:
      paths: video files.
      model: the LandmarkModel.
      every: detection interval of the tracker, in frames.
      seed: of the random shifts.

    Returns:
      {figure: value}: mean and median errors in percent of the eye distance, and counts.
    """
    random = np.random.default_rng(seed)
    unsure = 0
    distances = {
        "followed_from_detected": [],
        "detector_repeatability": [],
        "plain_detector_repeatability": [],
    }
    for path in paths:
        frames = list(itertools.islice(video.read_video(path).frames, _FRAMES))
        followed = tracking.track(frames, model, every)
        for t in range(_STEP // 2, len(frames), _STEP):
            if not np.isfinite(followed[t]).all():
                unsure += 1
                continue
            shifts = random.integers(-_REACH, _REACH + 1, (_SHIFTS, 2))
            detected = _nearest(model.detect(frames[t]), followed[t])
            if detected is None:
                unsure += 1
                continue
            distances["followed_from_detected"].append(_percent(followed[t], detected))
            distances["detector_repeatability"] += _repeated(
                model.detect, frames[t], followed[t], shifts
            )
            distances["plain_detector_repeatability"] += _repeated(
                model.detect_plainly, frames[t], followed[t], shifts
            )
    figures = {"landmark_comparisons": float(len(distances["followed_from_detected"]))}
    figures["landmark_frames_unsure_or_unseen"] = float(unsure)
    for name, values in distances.items():
        figures[f"{name}_percent"] = float(np.mean(values))
        figures[f"{name}_percent_median"] = float(np.median(values))
    return figures


def _repeated(detect, frame, points, shifts):
    """Repeatability errors in percent, one per shift, of the face nearest to `points`."""
    detected = _nearest(detect(frame), points)
    if detected is None:
        return []
    again = [
        (shift, _nearest(detect(_shifted(frame, shift)), detected + shift)) for shift in shifts
    ]
    return [_percent(found - shift, detected) for shift, found in again if found is not None]


def _percent(points, reference):
    return 100 * float(
        np.linalg.norm(points - reference, axis=-1).mean() / geometry.eye_distance(reference)
    )


def _nearest(faces, points):
    """The landmarks of the detected face at `points`, or None if it is missing or unreliable."""
    sure = [face for face in faces if face.spread < landmarks.UNSURE]
    near = [
        face.points
        for face in sure
        if np.linalg.norm(face.points - points, axis=-1).mean() < face.square.side / 2
    ]
    return near[0] if near else None


def _shifted(frame, shift):
    place = np.float32([[1, 0, shift[0]], [0, 1, shift[1]]])
    return cv2.warpAffine(frame, place, frame.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
