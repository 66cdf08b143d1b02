"""A photo bent to other landmarks: extra training pairs for a person of whom there are few photos.

`warp` moves the face of one image to target landmarks by a piecewise-affine map whose mesh is the 68 points, an
outline of the head above the brows (the points do not reach there) and the picture's border, which stays. Near the
source's own pose that is close to what a camera would have seen; it fails at what was hidden (the far cheek, an ear),
so targets stay part of the way. What a mouth hid is made up by `open_mouth`: lips pulled apart would smear. `training_pairs`
draws targets from two sources: the way to another of the given images, and small motions any face can make. Ours; the
paper fine-tunes on the images alone (Sec. 3.3).
"""

import cv2
import numpy as np
from scipy.interpolate import LinearNDInterpolator
from scipy.spatial import Delaunay, QhullError

from tf_talkinghead.faces.geometry import expressed, similarity, turned
from tf_talkinghead.faces.motion import mouth_opening

_BORDER = np.array(
    [
        (x, y)
        for x in (0.0, 0.25, 0.5, 0.75, 1.0)
        for y in (0.0, 0.25, 0.5, 0.75, 1.0)
        if x in (0, 1) or y in (0, 1)
    ]
)
_HEAD_POINTS = list(range(17)) + list(range(27, 36))  # jaw and nose: what moves with the skull
_INNER_LIPS, _INNER_UPPER_LIP, _OUTER_LIPS = slice(60, 68), slice(60, 65), slice(48, 60)
_DARK = 0.3  # of the lips' colour: the inside of a mouth, lit from without
_BLINKS, _TALKS = 0.5, 0.5  # shares of the made-up motions that close the lids, that open the mouth


def warp(image: np.ndarray, landmarks: np.ndarray, target: np.ndarray) -> np.ndarray:
    """`image` uint8 [H, W, 3] with its `landmarks` [68, 2] moved to `target` [68, 2], fractions of the image."""
    size = image.shape[0]
    source, goal = mesh(landmarks, landmarks), mesh(landmarks, target)
    inside = ((goal > -0.02) & (goal < 1.02)).all(-1)
    inside[-len(_BORDER) :] = True
    source, goal = source[inside], goal[inside]
    pixels = (
        np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1).reshape(-1, 2) + 0.5
    ) / size
    try:
        shift = LinearNDInterpolator(Delaunay(goal), source - goal, fill_value=0.0)(pixels)
    except QhullError:  # all points on one another: nothing to bend by
        return image.copy()
    where = ((pixels + shift) * size - 0.5).astype(np.float32).reshape(size, size, 2)
    return cv2.remap(
        image, where[..., 0], where[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )


def open_mouth(
    warped: np.ndarray, image: np.ndarray, landmarks: np.ndarray, target: np.ndarray
) -> np.ndarray:
    """`warped` (by `warp` from `image`) with the inside of the mouth put in between the lips, where `target` opens them further.

    Teeth belong to the skull and not to the lips: what the image shows between its lips follows the upper lip without
    being stretched, and what it does not show is dark.
    """
    size = image.shape[0]
    lips = warped[_covered(target[_OUTER_LIPS], size) > 0.5]
    between = _covered(target[_INNER_LIPS], size)[..., None]
    if not len(lips) or not between.any() or mouth_opening(target) <= mouth_opening(landmarks):
        return warped
    matrix, shift = similarity(landmarks[_INNER_UPPER_LIP], target[_INNER_UPPER_LIP])
    transform = np.column_stack(
        [matrix, size * shift + 0.5 * (matrix.sum(1) - 1)]
    )  # pixels have their centres at + 0.5
    seen = cv2.dilate(_covered(landmarks[_INNER_LIPS], size), np.ones((3, 3)))
    moved, seen = (
        cv2.warpAffine(np.float32(part), transform, (size, size)) for part in (image, seen)
    )
    inside = seen[..., None] * moved + (1 - seen[..., None]) * _DARK * lips.mean(0)
    return np.rint(between * inside + (1 - between) * warped).astype(np.uint8)


def _covered(polygon, size, finer=8):
    """The share of each pixel [size, size] that a polygon [P, 2] in fractions of the picture covers."""
    mask = np.zeros((size * finer, size * finer), np.float32)
    cv2.fillPoly(mask, [np.rint(polygon * size * finer - 0.5).astype(np.int32)], 1.0)
    return cv2.resize(mask, (size, size), interpolation=cv2.INTER_AREA)


def mesh(rest: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Nodes [P, 2] of the mesh of an image whose own landmarks are `rest`, when its face is at `landmarks`.

    The head's outline above the brows is the jaw's, mirrored at the line of the jaw's ends; it follows the skull.
    """
    first, last = rest[0], rest[16]
    along = (last - first) / max(np.linalg.norm(last - first), 1e-6)
    offset = rest[1:16:2] - first
    mirrored = first + 2 * (offset @ along)[:, None] * along - offset
    matrix, shift = similarity(rest[_HEAD_POINTS], landmarks[_HEAD_POINTS])
    return np.concatenate([landmarks, mirrored @ matrix.T + shift, _BORDER])


def training_pairs(
    images: np.ndarray, landmarks: np.ndarray, count: int, seed: int, reach: float, motion: float
):
    """`count` warped copies: (images uint8 [count, H, W, 3], landmarks float32 [count, 68, 2]), the same for a seed.

    images uint8 [T, H, W, 3], landmarks [T, 68, 2]. reach: the farthest a face goes towards another image's pose, as a
    share of the way. motion: strength of the head's made-up motions, 1 for a few degrees of turning; 0 makes up nothing.
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
                target = made_up_motion(target, rng, 0.3 * motion)
        elif motion:
            target = made_up_motion(target, rng, motion)
        bent = warp(images[source], landmarks[source], target)
        results.append(open_mouth(bent, images[source], landmarks[source], target))
        targets.append(target)
    return np.stack(results), np.asarray(targets, np.float32)


def made_up_motion(landmarks: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """The face [68, 2] after a small motion: the head turns, shifts and nears by `strength`, lids and lips move fully.

    A blink is seldom among a few photos, and one that was never shown is never rendered: so half of them blink.
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
