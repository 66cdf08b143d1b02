"""What a model has to beat: methods without one, driven by the same landmarks from the same T images.

    nearest(images, landmarks, driving)      # the image whose landmarks are nearest, as it is
    warp(images, landmarks, driving)         # the same, bent piecewise-affinely onto the driving landmarks

`images` uint8 [T,H,W,3], `landmarks` float32 [T,68,2] and `driving` float32 [B,68,2] in fractions of the
crop -> uint8 [B,H,W,3].
"""

import cv2
import numpy as np
from scipy.spatial import Delaunay

BORDER_STEPS = 4  # fixed points along each side of the frame


def nearest_index(landmarks, driving):
    """Which of the T images is nearest to each driving pose: [T,68,2], [B,68,2] -> int [B], by mean point distance."""
    landmarks, driving = np.asarray(landmarks, np.float64), np.asarray(driving, np.float64)
    distance = np.linalg.norm(landmarks[None] - driving[:, None], axis=-1).mean(-1)
    return distance.argmin(1)


def nearest(images, landmarks, driving):
    """The image nearest by landmarks for each driving pose."""
    return np.asarray(images)[nearest_index(landmarks, driving)]


def warp(images, landmarks, driving):
    """The nearest image, warped so that its landmarks fall on the driving ones; the frame's border stays put."""
    images, landmarks = np.asarray(images), np.asarray(landmarks)
    chosen = nearest_index(landmarks, driving)
    return np.stack([warp_image(images[i], landmarks[i], to) for i, to in zip(chosen, np.asarray(driving), strict=True)])


def warp_image(image, source, target):
    """uint8 [H,W,3] bent so that `source` landmarks [68,2] land on `target` [68,2]: affine in each Delaunay triangle.

    Triangles are those of the target, so that every pixel of the result has exactly one place to come from.
    """
    height, width = image.shape[:2]
    size = np.array([width, height], np.float64)
    source, target = (np.concatenate([np.asarray(p, np.float64), _border()]) * size - 0.5 for p in (source, target))
    # Landmarks at or beyond the frame's edge would cross the fixed border; they move with it instead.
    outside = ((target[:68] < 0) | (target[:68] > size - 1)).any(-1)
    keep = np.concatenate([~outside, np.ones(len(target) - 68, bool)])
    source, target = source[keep], target[keep]
    mesh = Delaunay(target)
    pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).reshape(-1, 2).astype(np.float64)
    triangle = np.maximum(mesh.find_simplex(pixels, tol=1e-6), 0)
    transform = mesh.transform[triangle]
    first_two = np.einsum("nij,nj->ni", transform[:, :2], pixels - transform[:, 2])
    weights = np.concatenate([first_two, 1 - first_two.sum(1, keepdims=True)], 1)
    come_from = np.einsum("nk,nkd->nd", weights, source[mesh.simplices[triangle]])
    come_from = np.nan_to_num(come_from).reshape(height, width, 2).astype(np.float32)
    return cv2.remap(image, come_from, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _border():
    """Points [16,2] round the frame, in fractions."""
    steps = np.linspace(0, 1, BORDER_STEPS + 1)[:-1]
    zero, one = np.zeros_like(steps), np.ones_like(steps)
    sides = [(steps, zero), (one, steps), (1 - steps, one), (zero, 1 - steps)]
    return np.concatenate([np.stack(side, -1) for side in sides])
