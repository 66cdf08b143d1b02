"""Model-free baselines: nearest reference frame and piecewise-affine warp.

    nearest(images, landmarks, driving)      # the image whose landmarks are nearest, unchanged
    warp(images, landmarks, driving)         # the same, warped onto the driving landmarks

`images` uint8 [T,H,W,3], `landmarks` float32 [T,68,2] and `driving` float32 [B,68,2] in fractions
of the crop -> uint8 [B,H,W,3].
"""

import cv2
import numpy as np
from scipy.spatial import Delaunay

BORDER_STEPS = 4  # fixed points along each side of the frame


def nearest_index(landmarks, driving):
    """Index of the reference image nearest to each driving pose, by mean distance of the points.

    Args:
      landmarks: float [T,68,2]. driving: float [B,68,2].

    Returns:
      int [B], 0..T-1.
    """
    landmarks, driving = np.asarray(landmarks, np.float64), np.asarray(driving, np.float64)
    distance = np.linalg.norm(landmarks[None] - driving[:, None], axis=-1).mean(-1)
    return distance.argmin(1)


def nearest(images, landmarks, driving):
    """The reference image nearest to each driving pose, uint8 [B,H,W,3]."""
    return np.asarray(images)[nearest_index(landmarks, driving)]


def warp(images, landmarks, driving):
    """The nearest reference image, warped onto the driving landmarks, uint8 [B,H,W,3].

    The frame's border stays in place.
    """
    images, landmarks = np.asarray(images), np.asarray(landmarks)
    chosen = nearest_index(landmarks, driving)
    return np.stack(
        [
            warp_image(images[i], landmarks[i], to)
            for i, to in zip(chosen, np.asarray(driving), strict=True)
        ]
    )


def warp_image(image, source, target):
    """A uint8 image [H,W,3] warped so that `source` landmarks [68,2] land on `target` [68,2].

    The warp is affine in each Delaunay triangle of the target, so that every pixel of the result
    has exactly one source.
    """
    height, width = image.shape[:2]
    size = np.array([width, height], np.float64)
    source, target = (
        np.concatenate([np.asarray(p, np.float64), _border()]) * size - 0.5
        for p in (source, target)
    )
    # Landmarks at or beyond the frame's edge would cross the fixed border; they move with it
    # instead.
    outside = ((target[:68] < 0) | (target[:68] > size - 1)).any(-1)
    keep = np.concatenate([~outside, np.ones(len(target) - 68, bool)])
    source, target = source[keep], target[keep]
    come_from = _inverse_map(source, target, Delaunay(target).simplices, height, width)
    return cv2.remap(image, come_from, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _inverse_map(source, target, triangles, height, width):
    """Source position of each pixel, float32 [height,width,2], affine in each triangle.

    Args:
      source, target: points [m,2], pixels.
      triangles: int [n,3], indices of points.
    """
    corners = target[triangles]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]) / 2
    order = np.argsort(area)[np.sort(area) > 1e-3]  # a triangle thinner than that holds no pixel
    # The affine map of each: rows of [x, y, 1] of the target's corners times it give the source's
    # corners.
    affine = np.linalg.solve(
        np.concatenate([corners, np.ones((len(corners), 3, 1))], -1)[order],
        source[triangles][order],
    )
    # Painting marks pixels on an edge too: small triangles first, so that slivers reach no further
    # than they should.
    number = np.zeros((height, width), np.int32)
    for place, triangle in enumerate(np.round(corners[order] * 16).astype(np.int32)):
        cv2.fillConvexPoly(number, triangle, place, shift=4)
    columns, rows = np.meshgrid(
        np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64)
    )
    of_pixel = affine[number]
    return np.float32(
        columns[..., None] * of_pixel[..., 0, :]
        + rows[..., None] * of_pixel[..., 1, :]
        + of_pixel[..., 2, :]
    )


def _border():
    """Points [16,2] round the frame, in fractions."""
    steps = np.linspace(0, 1, BORDER_STEPS + 1)[:-1]
    zero, one = np.zeros_like(steps), np.ones_like(steps)
    sides = [(steps, zero), (one, steps), (1 - steps, one), (zero, 1 - steps)]
    return np.concatenate([np.stack(side, -1) for side in sides])
