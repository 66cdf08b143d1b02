"""How near a result is to the truth, per frame: SSIM, PSNR and L1 over the whole frame or over the face.

Images are uint8 RGB [B,H,W,3] in pairs of equal shape; every function returns float64 [B].

    ssim(x, x_hat)                                   # structural similarity, 1 for equal images
    ssim(x, x_hat, face_mask(landmarks, size))       # the same over the face only

What compares whole sets of frames (FID, KID) is in `distances.py`; who a face belongs to in
`face_recognition.py`; how it moves in `motion.py`.
"""

import cv2
import numpy as np

from tf_talkinghead.errors import InputError

SSIM_WINDOW = 11  # pixels; Wang et al. 2004
SSIM_SIGMA = 1.5
FACE_MARGIN = 0.10  # the landmarks' hull grown by this share about its centre


def ssim(a, b, mask=None):
    """Structural similarity (Wang et al. 2004): 11x11 Gaussian of sigma 1.5, per RGB channel, range 255.

    Only positions where the whole window lies inside the image count, as in skimage. `mask` bool [B,H,W]
    restricts the mean to the windows centred on it.
    """
    a, b = _pair(a, b)
    if min(a.shape[1:3]) < SSIM_WINDOW:
        raise InputError(
            f"ssim: expected images of at least {SSIM_WINDOW} pixels, got {list(a.shape[1:3])}"
        )
    edge = SSIM_WINDOW // 2
    maps = np.stack(
        [_ssim_map(x, y)[edge:-edge, edge:-edge].mean(-1) for x, y in zip(a, b, strict=True)]
    )
    return _mean(maps, None if mask is None else np.asarray(mask)[:, edge:-edge, edge:-edge])


def psnr(a, b, mask=None):
    """Peak signal to noise ratio in dB, range 255; infinite for equal images."""
    a, b = _pair(a, b)
    error = _mean(((a.astype(np.float64) - b) ** 2).mean(-1), mask)
    with np.errstate(divide="ignore"):
        return 10 * np.log10(255**2 / error)


def l1(a, b, mask=None):
    """Mean absolute difference as a share of the full range, 0..1."""
    a, b = _pair(a, b)
    return _mean(np.abs(a.astype(np.float64) - b).mean(-1), mask) / 255


def face_mask(landmarks, size, margin=FACE_MARGIN):
    """Where the face is: landmarks [B,68,2] in fractions -> bool [B,size,size], their convex hull grown by `margin`."""
    masks = []
    for points in np.asarray(landmarks, np.float64) * size:
        hull = cv2.convexHull(points.astype(np.float32))[:, 0].astype(np.float64)
        middle = (hull.min(0) + hull.max(0)) / 2
        grown = middle + (hull - middle) * (1 + margin)
        mask = np.zeros((size, size), np.uint8)
        # fillConvexPoly takes fixed-point corners (here 1/16 pixel) that count from the first pixel's centre.
        cv2.fillConvexPoly(mask, np.round((grown - 0.5) * 16).astype(np.int32), 1, shift=4)
        masks.append(mask.astype(bool))
    return np.stack(masks)


def _ssim_map(a, b):
    """uint8 [H,W,3] twice -> SSIM of each window, float64 [H,W,3]."""
    blur = _window_mean
    a, b = a.astype(np.float64), b.astype(np.float64)
    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    likeness = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return likeness / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))


def _window_mean(image):
    window = cv2.getGaussianKernel(SSIM_WINDOW, SSIM_SIGMA, cv2.CV_64F)
    return cv2.sepFilter2D(image, cv2.CV_64F, window, window)


def _mean(maps, mask):
    """Mean of [B,h,w] over positions, or over those where `mask` bool [B,h,w] is set (NaN where none is)."""
    if mask is None:
        return maps.mean((1, 2))
    mask = np.asarray(mask, bool)
    counts = mask.sum((1, 2))
    return np.where(counts > 0, (maps * mask).sum((1, 2)) / np.maximum(counts, 1), np.nan)


def _pair(a, b):
    """Both as arrays; InputError unless they are uint8 [B,H,W,3] of one shape."""
    a, b = np.asarray(a), np.asarray(b)
    if a.ndim != 4 or a.shape != b.shape or a.dtype != np.uint8 or b.dtype != np.uint8:
        raise InputError(
            "metrics: expected two uint8 batches [B,H,W,3] of one shape, "
            f"got {a.dtype} {list(a.shape)} and {b.dtype} {list(b.shape)}"
        )
    return a, b
