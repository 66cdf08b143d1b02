"""How far followed landmarks lie from detected ones, beside how far detected ones move by
themselves.

The measure is the mean distance over the 68 points in percent of the distance between the eyes'
centres. A frame shifted by a few whole pixels is the same picture, so what detected points move
then, the shift taken off, is a detector's repeatability: the floor of any landmark error, and the
bar for following. The detector is the one that prepares data, LandmarkModel.detect on the whole
frame; dlib's plain answer is measured beside it. A face whose points are unsure (landmarks.UNSURE)
is in no dataset and in no figure; their number is told.
"""

import itertools

import cv2
import numpy as np

from tf_talkinghead.data import video
from tf_talkinghead.faces import geometry, landmarks, tracking

# frames of a clip; one in 6 compared; by 3 shifts of up to 6 px
_FRAMES, _STEP, _SHIFTS, _REACH = (75, 6, 3, 6)


def accuracy(paths, model, every: int = 5, seed: int = 0) -> dict[str, float]:
    """Mean distances over the clips at `paths`, percent; faces in the first 75 frames count."""
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
    """How far the face by `points` moves in percent when the frame is shifted and detected again,
    per shift.
    """
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
    """The points of the face by `points`, or None when it is missing or unsure."""
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
