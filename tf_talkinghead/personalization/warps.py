"""Warped training pairs: images warped to other landmarks, for a person with few images.

`warp` moves the face of one image to target landmarks. Its mesh has the 68 points and an outline of
the head above the brows, where there are no landmarks. Near the source's own pose the result is
close to a photo; it fails where the source hides something (the far cheek, an ear), so targets go
only part of the way. `open_mouth` fills in the inside of a mouth, since lips that are pulled apart
would smear. `training_pairs` draws targets of two kinds: towards the pose of another of the images,
and small synthetic motions that any face can make. This is not in the paper, which fine-tunes on
the images alone (Sec. 3.3).
"""

import cv2
import numpy as np

from tf_talkinghead.faces import warping
from tf_talkinghead.faces.geometry import expressed, similarity, turned
from tf_talkinghead.faces.motion import mouth_opening

_HEAD_POINTS = list(range(17)) + list(range(27, 36))  # jaw and nose, which move with the skull
_INNER_LIPS, _INNER_UPPER_LIP, _OUTER_LIPS = slice(60, 68), slice(60, 65), slice(48, 60)
_DARK = 0.3  # of the lips' brightness: the inside of a mouth, lit from outside
# Shares of the synthetic motions that close the lids, and that open the mouth.
_BLINKS, _TALKS = 0.5, 0.5


def warp(image: np.ndarray, landmarks: np.ndarray, target: np.ndarray) -> np.ndarray:
    """`image` uint8 [H, W, 3] with its `landmarks` [68, 2] moved to `target` [68, 2], in fractions.

    Cubic interpolation, as training targets must not be blurred.
    """
    source, moved = mesh(landmarks, landmarks), mesh(landmarks, target)
    return warping.warp(image, source, moved, cv2.INTER_CUBIC)


def open_mouth(
    warped: np.ndarray, image: np.ndarray, landmarks: np.ndarray, target: np.ndarray
) -> np.ndarray:
    """`warped` (of `image`) with the inside of the mouth where `target` opens the lips further.

    Teeth belong to the skull and not to the lips: what the image shows between its lips follows the
    upper lip without being stretched, and what it does not show is dark.
    """
    size = image.shape[0]
    lips = warped[_covered(target[_OUTER_LIPS], size) > 0.5]
    between = _covered(target[_INNER_LIPS], size)[..., None]
    if not len(lips) or not between.any() or mouth_opening(target) <= mouth_opening(landmarks):
        return warped
    matrix, shift = similarity(landmarks[_INNER_UPPER_LIP], target[_INNER_UPPER_LIP])
    # In pixels, whose centres lie at + 0.5.
    transform = np.column_stack([matrix, size * shift + 0.5 * (matrix.sum(1) - 1)])
    visible = cv2.dilate(_covered(landmarks[_INNER_LIPS], size), np.ones((3, 3)))
    moved = cv2.warpAffine(np.float32(image), transform, (size, size))
    visible = cv2.warpAffine(np.float32(visible), transform, (size, size))[..., None]
    inside = visible * moved + (1 - visible) * _DARK * lips.mean(0)
    return np.rint(between * inside + (1 - between) * warped).astype(np.uint8)


def _covered(polygon, size, finer=8):
    """Share of each pixel [size, size], 0 to 1, that a polygon [P, 2] in fractions covers."""
    mask = np.zeros((size * finer, size * finer), np.float32)
    cv2.fillPoly(mask, [np.rint(polygon * size * finer - 0.5).astype(np.int32)], 1.0)
    return cv2.resize(mask, (size, size), interpolation=cv2.INTER_AREA)


def mesh(rest: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Mesh points [P, 2] of an image with landmarks `rest` when its face is at `landmarks` [68, 2].

    The outline above the brows is the jaw's, mirrored at the line of the jaw's ends; it follows the
    skull.
    """
    first, last = rest[0], rest[16]
    along = (last - first) / max(np.linalg.norm(last - first), 1e-6)
    offset = rest[1:16:2] - first
    mirrored = first + 2 * (offset @ along)[:, None] * along - offset
    matrix, shift = similarity(rest[_HEAD_POINTS], landmarks[_HEAD_POINTS])
    return np.concatenate([landmarks, mirrored @ matrix.T + shift])


def training_pairs(
    images: np.ndarray, landmarks: np.ndarray, count: int, seed: int, reach: float, motion: float
):
    """Warped copies of the images, the same for the same seed.

    Args:
      images: uint8 [T, H, W, 3].
      landmarks: [T, 68, 2].
      count: number of copies.
      seed: chooses images and targets.
      reach: the farthest a face goes towards another image's pose, as a share of the way.
      motion: strength of the synthetic motions, 1 for a few degrees of turning; 0 for none.

    Returns:
      (images uint8 [count, H, W, 3], landmarks float32 [count, 68, 2]).
    """
    rng = np.random.default_rng(seed)
    results, targets = [], []
    for _ in range(count):
        source = rng.integers(len(images))
        target = np.asarray(landmarks[source], np.float64)
        if len(images) > 1 and rng.random() < 0.6:
            other = (source + rng.integers(1, len(images))) % len(images)
            target = target + rng.uniform(0, reach) * (landmarks[other] - target)
            if motion and rng.random() < 0.5:
                target = synthetic_motion(target, rng, 0.3 * motion)
        elif motion:
            target = synthetic_motion(target, rng, motion)
        warped = warp(images[source], landmarks[source], target)
        results.append(open_mouth(warped, images[source], landmarks[source], target))
        targets.append(target)
    return np.stack(results), np.asarray(targets, np.float32)


def synthetic_motion(
    landmarks: np.ndarray, rng: np.random.Generator, strength: float
) -> np.ndarray:
    """The face [68, 2] after a small motion: the head moves by `strength`, lids and lips fully.

    A few photos seldom show a blink, and G cannot render a blink it was not trained on: so half of
    the motions blink.
    """
    yaw, pitch, roll = rng.normal(0, [6 * strength, 4 * strength, 3 * strength])
    closed = rng.uniform(0.2, 1.0) if rng.random() < _BLINKS else 0.0
    opened = rng.uniform(0.0, 1.0) if rng.random() < _TALKS else 0.0
    points = expressed(landmarks, closed, opened, rng.normal(0, 0.3 * strength))
    points[17:27, 1] += rng.normal(0, 0.006 * strength)
    points = turned(points, yaw, pitch, roll)
    centre = points.mean(0)
    return (
        (points - centre) * (1 + rng.normal(0, 0.02 * strength))
        + centre
        + rng.normal(0, 0.012 * strength, 2)
    )
