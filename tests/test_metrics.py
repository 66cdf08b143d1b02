"""SSIM against Wang's formula written out; PSNR and L1 by hand; the face mask against a square."""

import math

import cv2
import numpy as np
import pytest

from tf_talkinghead import metrics
from tf_talkinghead.errors import InputError


def wang_ssim(a, b):
    """Wang et al. 2004 written out, uint8 [H,W,3] twice: the mean over windows and channels."""
    steps = np.exp(-((np.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    weights = np.outer(steps, steps) / steps.sum() ** 2

    def mean(image):
        windows = np.lib.stride_tricks.sliding_window_view(image, (11, 11), (0, 1))
        return np.einsum("hwcij,ij->hwc", windows, weights)

    a, b = a.astype(np.float64), b.astype(np.float64)
    mean_a, mean_b = mean(a), mean(b)
    variances = mean(a * a) - mean_a**2 + mean(b * b) - mean_b**2
    covariance = mean(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    likeness = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return (likeness / ((mean_a**2 + mean_b**2 + c1) * (variances + c2))).mean()


def test_ssim_is_wangs_on_a_real_face(portrait):
    rng = np.random.default_rng(0)
    face = portrait[40:168, 100:228]
    noisy = np.clip(face + rng.normal(0, 20, face.shape), 0, 255).astype(np.uint8)
    shifted = np.roll(face, 3, axis=1)
    values = metrics.ssim(np.stack([face, face, face]), np.stack([noisy, shifted, face]))
    expected = [wang_ssim(face, noisy), wang_ssim(face, shifted), 1.0]
    assert values == pytest.approx(expected, abs=1e-6)
    assert values[0] < 0.9 and values[1] < 0.9


def test_ssim_is_wangs_on_real_clips(real_data):
    from tf_talkinghead.data.video import read_video

    clip = sorted((real_data / "videos").glob("*.mp4"))[0]
    frames = [frame[::2, ::2] for frame in read_video(clip, 4).frames]
    a, b = np.stack(frames[:2]), np.stack(frames[2:])
    expected = [wang_ssim(x, y) for x, y in zip(a, b, strict=True)]
    assert metrics.ssim(a, b) == pytest.approx(expected, abs=1e-6)


def test_ssim_over_a_mask_sees_only_the_mask(portrait):
    face = portrait[None, 40:168, 100:228]
    spoilt = face.copy()
    spoilt[:, :, 90:] = 0
    mask = np.zeros(face.shape[:3], bool)
    mask[:, 20:100, 20:80] = True
    assert metrics.ssim(face, spoilt)[0] < 0.8
    assert metrics.ssim(face, spoilt, mask)[0] == pytest.approx(1)
    assert math.isnan(metrics.ssim(face, spoilt, np.zeros_like(mask))[0])


def test_l1_and_psnr_by_hand():
    a = np.zeros((1, 16, 16, 3), np.uint8)
    b = np.full_like(a, 51)  # a fifth of the range everywhere
    assert metrics.l1(a, b) == pytest.approx([0.2])
    assert metrics.psnr(a, b) == pytest.approx([20 * math.log10(5)])
    assert np.isinf(metrics.psnr(a, a)).all()
    half = np.zeros((1, 16, 16), bool)
    half[:, :8] = True
    b[:, :8] = 255
    assert metrics.l1(a, b, half) == pytest.approx([1.0])
    assert metrics.l1(a, b) == pytest.approx([0.6])
    assert metrics.psnr(a, b, half) == pytest.approx([0.0])
    assert metrics.psnr(a, b, ~half) == pytest.approx([20 * math.log10(5)])
    assert np.isinf(metrics.psnr(a, a, half)).all()
    for metric in (metrics.l1, metrics.psnr):
        assert np.isnan(metric(a, b, np.zeros_like(half))).all()


def test_face_mask_is_the_grown_hull():
    inside = np.random.default_rng(0).uniform(0.3, 0.7, (64, 2))
    square = np.array([(0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)])
    mask = metrics.face_mask(np.concatenate([inside, square])[None], 200, margin=0.10)[0]
    rows, columns = np.where(mask)
    # 100 pixels wide, grown by 10 %: 45 to 155, give or take the pixel on the line.
    assert (rows.min(), columns.min()) == pytest.approx((45, 45), abs=1)
    assert (rows.max(), columns.max()) == pytest.approx((154, 154), abs=1)
    assert mask[45:155, 45:155].mean() > 0.98


@pytest.mark.parametrize(
    "a, b",
    [
        (np.zeros((1, 16, 16, 3), np.uint8), np.zeros((1, 16, 18, 3), np.uint8)),
        (np.zeros((1, 16, 16, 3), np.float32), np.zeros((1, 16, 16, 3), np.float32)),
        (np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16, 3), np.uint8)),
    ],
)
def test_wrong_shapes_and_types_are_refused(a, b):
    for metric in (metrics.ssim, metrics.psnr, metrics.l1):
        with pytest.raises(InputError, match="uint8 batches"):
            metric(a, b)
    with pytest.raises(InputError, match="11 pixels"):
        metrics.ssim(np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 8, 8, 3), np.uint8))


def test_sharpness_falls_with_blur_and_detail_falls_with_both(portrait):
    truth = np.stack([cv2.resize(portrait, (128, 128), interpolation=cv2.INTER_AREA)])
    blurred = np.stack([cv2.GaussianBlur(truth[0], (0, 0), 2.0)])
    noise = np.random.default_rng(0).normal(0, 25, truth.shape)
    noisy = np.uint8(np.clip(truth + noise, 0, 255))
    assert metrics.sharpness(truth, truth) == pytest.approx(1.0)
    assert metrics.detail(truth, truth) == pytest.approx(1.0)
    assert metrics.sharpness(truth, blurred)[0] < 0.7 and metrics.sharpness(truth, noisy)[0] > 1.3
    assert metrics.detail(truth, blurred)[0] < 0.8 and metrics.detail(truth, noisy)[0] < 0.8


def test_sharpness_by_hand():
    """Steps of 10 and of 5 between columns: half as sharp."""
    steep = np.repeat(np.uint8(np.arange(16) * 10)[None, None, :, None], 16, 1).repeat(3, -1)
    assert metrics.sharpness(steep, steep // 2) == pytest.approx(0.5)
    assert metrics.detail(steep, np.full_like(steep, 9)) == pytest.approx(0.0)
