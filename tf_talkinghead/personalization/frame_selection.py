"""Frame selection for an avatar: sharp frames that differ in pose and expression.

The first T frames of a clip are nearly equal; an avatar needs the whole range of poses and
expressions. So blurred frames are left out, and the next choice is always the frame that is
farthest from those already chosen.
"""

import cv2
import numpy as np

_BLURRED = 0.6  # of the median sharpness: frames below are left out...
_MOST_BLURRED = 0.25  # ...but not more than this share of all
_SKIP_OUTLIERS = 0.02  # share of frames, the farthest from the median: often wrong landmarks


def select_frames(images: np.ndarray, landmarks: np.ndarray, count: int) -> np.ndarray:
    """Indices, ascending, of `count` diverse sharp frames; all where there are not more.

    images uint8 [T, H, W, 3], landmarks [T, 68, 2] in fractions. The same input gives the same
    choice.
    """
    total = len(images)
    if count >= total:
        return np.arange(total)
    points = describe(landmarks)
    allowed = np.ones(total, bool)
    sharp = sharpness(images, landmarks)
    spare = total - count  # as many frames may be left out in all
    blurred = [
        i for i in np.argsort(sharp, kind="stable") if sharp[i] < _BLURRED * np.median(sharp)
    ]
    allowed[blurred[: min(spare, int(_MOST_BLURRED * total))]] = False
    apart = np.linalg.norm(points - np.median(points, axis=0), axis=-1)
    apart[~allowed] = -1.0
    spare = int(allowed.sum()) - count
    allowed[np.argsort(-apart, kind="stable")[: min(spare, int(_SKIP_OUTLIERS * total))]] = False
    candidates = np.flatnonzero(allowed)
    return np.sort(candidates[_spread(points[candidates], count)])


def sharpness(images: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Variance of the Laplacian of each face over its contrast: [T], higher is sharper."""
    values = []
    for image, points in zip(images, landmarks):
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
        size = len(grey)
        low = np.clip(np.floor(points.min(0) * size).astype(int), 0, size - 4)
        high = np.clip(np.ceil(points.max(0) * size).astype(int), low + 4, size)
        face = grey[low[1] : high[1], low[0] : high[0]]
        values.append(cv2.Laplacian(face, cv2.CV_32F).var() / (face.var() + 1.0))
    return np.array(values)


def describe(landmarks: np.ndarray) -> np.ndarray:
    """Descriptors [T, D] of landmarks [T, 68, 2], whose distance says how much two frames differ.

    They hold the position and pose of the whole face and the shapes of eyes, brows and mouth. Mouth
    and eyes move little compared with the head, so their shapes, each relative to its own centre,
    have larger weights.
    """
    landmarks = np.asarray(landmarks, np.float64)
    width = np.median(np.linalg.norm(landmarks[:, 16] - landmarks[:, 0], axis=-1))
    parts = [landmarks.reshape(len(landmarks), -1)]
    for first, last, weight in ((17, 27, 1.5), (36, 42, 3.0), (42, 48, 3.0), (48, 68, 2.0)):
        part = landmarks[:, first:last]
        parts.append(weight * (part - part.mean(1, keepdims=True)).reshape(len(landmarks), -1))
    return np.concatenate(parts, axis=1) / max(width, 1e-6)


def central(landmarks: np.ndarray) -> int:
    """Index of the frame nearest to all others, whose loss costs least variety."""
    points = describe(landmarks)
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    return int(distances.sum(1).argmin())


def _spread(points, count):
    """`count` indices of `points`: the central one, then each time the farthest from the chosen."""
    distances = np.linalg.norm(points - points.mean(0), axis=-1)
    chosen = [int(distances.argmin())]
    nearest = np.linalg.norm(points - points[chosen[0]], axis=-1)
    while len(chosen) < count:
        nearest[chosen] = -1.0
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(points - points[chosen[-1]], axis=-1))
    return np.array(chosen)
