"""How far followed landmarks lie from detected ones, beside how far detected ones move by themselves.

The measure is the mean distance over the 68 points in percent of the distance between the eyes' centres. A
frame shifted by a few whole pixels is the same picture, so what detected points move then, the shift taken
off, is the detector's repeatability: the floor of any landmark error, and the bar for following.
"""

import itertools

import cv2
import numpy as np

from tf_talkinghead.data import landmarks, tracking, video

_FRAMES, _STEP, _SHIFTS, _REACH = 75, 6, 3, 6  # frames of a clip; one in 6 compared; by 3 shifts of up to 6 px


def accuracy(paths, model, every: int = 10, seed: int = 0) -> dict[str, float]:
    """Mean distances over the clips at `paths`, percent; faces in the first 75 frames count."""
    random = np.random.default_rng(seed)
    followed, repeated = [], []
    for path in paths:
        frames = list(itertools.islice(video.read_video(path).frames, _FRAMES))
        tracked = tracking.track(frames, model, every)
        for t in range(_STEP // 2, len(frames), _STEP):
            detected = _nearest(model.detect(frames[t]), tracked[t])
            if detected is None:
                continue
            followed.append(_percent(tracked[t], detected))
            for shift in random.integers(-_REACH, _REACH + 1, (_SHIFTS, 2)):
                again = _nearest(model.detect(_shifted(frames[t], shift)), detected + shift)
                if again is not None:
                    repeated.append(_percent(again - shift, detected))
    return {
        "landmark_comparisons": float(len(followed)),
        "followed_from_detected_percent": float(np.mean(followed)),
        "followed_from_detected_percent_worst_tenth": float(np.percentile(followed, 90)),
        "detector_repeatability_percent": float(np.mean(repeated)),
        "detector_repeatability_percent_worst_tenth": float(np.percentile(repeated, 90)),
    }


def _percent(points, reference):
    return 100 * float(np.linalg.norm(points - reference, axis=-1).mean() / landmarks.eye_distance(reference))


def _nearest(faces, points):
    """The points of the face by `points`, or None when either is missing."""
    near = [face.points for face in faces if np.linalg.norm(face.points - points, axis=-1).mean() < face.square.side / 2]
    return near[0] if near else None


def _shifted(frame, shift):
    place = np.float32([[1, 0, shift[0]], [0, 1, shift[1]]])
    return cv2.warpAffine(frame, place, frame.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
