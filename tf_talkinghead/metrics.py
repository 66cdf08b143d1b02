"""Per-frame image metrics: SSIM, PSNR and L1, over the whole frame or over the face.

Images are uint8 RGB [B,H,W,3] in pairs of equal shape; every function returns float64 [B].

    ssim(x, x_hat)                                   # structural similarity, 1 for equal images
    ssim(x, x_hat, face_mask(landmarks, size))       # the same over the face only

SSIM and PSNR are scikit-image's. Distances of whole sets of frames (FID, KID) are in
`evaluation/fid.py`, face similarity in `faces/recognition.py`, motion in `faces/motion.py`.
"""

import cv2
import numpy as np
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from tf_talkinghead.config_checks import SSIM_WINDOW
from tf_talkinghead.errors import InputError

FACE_MARGIN = 0.10  # the landmarks' hull grown by this share about its centre
DETAIL_SIGMA = 1 / 128  # of the picture's side: 2 pixels at 256
_RANGE = 255  # of uint8


def ssim(a, b, mask=None):
    """Structural similarity (Wang et al. 2004), mean over positions and RGB channels.

    Only positions whose whole window lies inside the image count.

    Args:
      a, b: uint8 RGB [B,H,W,3], at least 11 pixels high and wide.
      mask: bool [B,H,W], the windows' centres that count; all by default.

    Returns:
      float64 [B], at most 1; NaN where the mask holds no window.

    Raises:
      InputError: wrong shapes or types.
    """
    a, b = _pair(a, b)
    if min(a.shape[1:3]) < SSIM_WINDOW:
        raise InputError(
            f"ssim: expected images of at least {SSIM_WINDOW} pixels, got {list(a.shape[1:3])}"
        )
    edge = SSIM_WINDOW // 2
    inside = np.s_[:, edge:-edge, edge:-edge]
    maps = np.stack([_ssim_map(x, y).mean(-1) for x, y in zip(a, b, strict=True)])
    return _mean(maps[inside], None if mask is None else np.asarray(mask)[inside])


def psnr(a, b, mask=None):
    """Peak signal-to-noise ratio in dB, range 255.

    Args:
      a, b: uint8 RGB [B,H,W,3].
      mask: bool [B,H,W], the pixels that count; all by default.

    Returns:
      float64 [B]; infinite for equal images, NaN where the mask is empty.

    Raises:
      InputError: wrong shapes or types.
    """
    a, b = _pair(a, b)
    chosen = np.ones(a.shape[:3], bool) if mask is None else np.asarray(mask, bool)
    values = np.full(len(a), np.nan)
    with np.errstate(divide="ignore"):
        for row, where in enumerate(chosen):
            if where.any():
                pair = (a[row][where], b[row][where])
                values[row] = peak_signal_noise_ratio(*pair, data_range=_RANGE)
    return values


def l1(a, b, mask=None):
    """Mean absolute difference as a share of the full range.

    Args and raises as `psnr`.

    Returns:
      float64 [B], 0..1; NaN where the mask is empty.
    """
    a, b = _pair(a, b)
    return _mean(np.abs(a.astype(np.float64) - b).mean(-1), mask) / _RANGE


def sharpness(truth, result):
    """Mean image gradient of the result over that of the truth: 1 as sharp, below 1 blurred.

    Noise raises it, so `detail` belongs beside it.

    Args:
      truth, result: uint8 [B,H,W,3].

    Returns:
      float64 [B], 0 and up.
    """
    a, b = (_gradient(_grey(images)) for images in _pair(truth, result))
    return b / np.maximum(a, 1e-9)


def detail(truth, result):
    """Correlation of the fine detail with the truth's: neither blur nor noise can raise it.

    Detail is what a Gaussian blur, of `DETAIL_SIGMA` times the picture's side, removes from the
    grey picture.

    Args:
      truth, result: uint8 [B,H,W,3].

    Returns:
      float64 [B], -1..1; 0 where one of them has no detail at all.
    """
    a, b = (_high_pass(_grey(images)) for images in _pair(truth, result))
    product, power = (a * b).mean((1, 2)), (a * a).mean((1, 2)) * (b * b).mean((1, 2))
    return product / np.sqrt(np.maximum(power, 1e-18))


def _grey(images):
    return images.mean(-1, dtype=np.float64)


def _gradient(grey):
    """Mean absolute difference of neighbours, horizontal and vertical, [B]."""
    return sum(np.abs(np.diff(grey, axis=axis)).mean((1, 2)) for axis in (1, 2))


def _high_pass(grey):
    sigma = DETAIL_SIGMA * grey.shape[1]
    rest = grey - np.stack([cv2.GaussianBlur(one, (0, 0), sigma) for one in grey])
    return rest - rest.mean((1, 2), keepdims=True)


def face_mask(landmarks, size, margin=FACE_MARGIN):
    """Face region: the convex hull of the landmarks, grown by `margin` about its centre.

    Args:
      landmarks: [B,68,2], fractions of the crop.
      size: pixels of the crop's side.
      margin: share of the hull's size.

    Returns:
      bool [B,size,size].
    """
    masks = []
    for points in np.asarray(landmarks, np.float64) * size:
        hull = cv2.convexHull(points.astype(np.float32))[:, 0].astype(np.float64)
        middle = (hull.min(0) + hull.max(0)) / 2
        grown = middle + (hull - middle) * (1 + margin)
        mask = np.zeros((size, size), np.uint8)
        # fillConvexPoly takes corners in 1/16 pixel, counted from the first pixel's centre.
        cv2.fillConvexPoly(mask, np.round((grown - 0.5) * 16).astype(np.int32), 1, shift=4)
        masks.append(mask.astype(bool))
    return np.stack(masks)


def _ssim_map(a, b):
    """SSIM of the window around each pixel of two uint8 [H,W,3] images, float64 [H,W,3]."""
    return structural_similarity(
        a,
        b,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=_RANGE,
        channel_axis=-1,
        full=True,
    )[1]


def _mean(maps, mask):
    """Mean of [B,h,w] over positions, or over `mask` bool [B,h,w]; NaN where that is empty."""
    if mask is None:
        return maps.mean((1, 2))
    mask = np.asarray(mask, bool)
    counts = mask.sum((1, 2))
    return np.where(counts > 0, (maps * mask).sum((1, 2)) / np.maximum(counts, 1), np.nan)


def _pair(a, b):
    """Both batches as arrays; InputError unless they are uint8 [B,H,W,3] of one shape."""
    a, b = np.asarray(a), np.asarray(b)
    if a.ndim != 4 or a.shape != b.shape or a.dtype != np.uint8 or b.dtype != np.uint8:
        raise InputError(
            "metrics: expected two uint8 batches [B,H,W,3] of one shape, "
            f"got {a.dtype} {list(a.shape)} and {b.dtype} {list(b.shape)}"
        )
    return a, b
