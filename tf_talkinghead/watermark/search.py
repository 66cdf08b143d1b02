"""Search for the sync pattern at any scale and place, by correlation of mean residuals."""

import dataclasses
from collections.abc import Iterator

import cv2
import numpy as np

from tf_talkinghead.watermark.pattern import CANVAS, HIGHEST, LOWEST, PER_BIT, Pattern
from tf_talkinghead.watermark.residual import (
    LARGEST_SHARE,
    SMALLEST_SHARE,
    SMALLEST_SIDE,
    Residuals,
)

# Ratio of neighbouring scales; at half of it the sync pattern's correlation falls by a tenth.
_SCALE_STEP = 1.012
# Samples of the canvas by which the marked picture may extend beyond each edge of the frame.
_MARGIN = 36
# Upper ends of the bands that are scored at one place, cycles a picture: strong compression and
# shrinking leave only the lower frequencies.
BANDS = (26, 36, HIGHEST)
# The search computes one correlation surface, not one a band: frequencies beyond this radius count
# less and less.
_SOFT_END = 42


@dataclasses.dataclass(frozen=True)
class Peak:
    """A place where the sync pattern may lie.

    Attributes:
      score: correlation, in standard deviations of the correlation with unmarked residuals.
      x, y, side: the marked picture's place in pixels of the frame.
    """

    score: float
    x: float
    y: float
    side: float


def coefficients(canvas: np.ndarray, pattern: Pattern) -> np.ndarray:
    """Whitened coefficients of a residual [128, 128] at the pattern's frequencies, turned by its
    phases, complex [F]: real parts hold the sync pattern, imaginary ones the bits."""
    found = np.fft.rfft2(canvas)[pattern.rows, pattern.columns]
    return found * np.conj(pattern.phases) / _amplitude(found, pattern.radius)


def sync_score(turned: np.ndarray, pattern: Pattern) -> float:
    """Score of the sync pattern at one place, in standard deviations; the best of the bands."""
    scores = []
    for highest in BANDS:
        part = turned[pattern.radius <= highest]
        scores.append(part.real.sum() / np.sqrt((np.abs(part) ** 2).sum() / 2 + 1e-12))
    return float(max(scores))


def soft_bits(turned: np.ndarray) -> np.ndarray:
    """The soft coded bits [192] of `coefficients`."""
    return turned.imag.reshape(-1, PER_BIT).sum(1)


def search(residuals: Residuals, patterns: list[Pattern]) -> Iterator[list[Peak]]:
    """Goes through all scales; at each gives the best place for each of `patterns`."""
    templates = [pattern.sync_picture() for pattern in patterns]
    for share, level in residuals.levels.items():
        for scale in _scales(residuals, share):
            factor = share / scale  # samples of the level to samples of the canvas
            height, width = (max(8, round(length * factor)) for length in level.shape)
            resized = cv2.resize(level, (width, height), interpolation=cv2.INTER_CUBIC)
            step = scale * min(residuals.height, residuals.width) / CANVAS  # pixels a sample
            yield [
                Peak(score, x * step, y * step, CANVAS * step)
                for score, x, y in _correlate(resized, templates)
            ]


def canvas_at(residuals: Residuals, peak: Peak) -> np.ndarray:
    """The mean residual [128, 128] of a peak's place, zero beyond the frame."""
    short = min(residuals.height, residuals.width)
    share = min(residuals.levels, key=lambda level: abs(np.log(level * short / peak.side)))
    level = residuals.levels[share]
    per_pixel = level.shape[1] / residuals.width, level.shape[0] / residuals.height
    x_step, y_step = (peak.side / CANVAS * each for each in per_pixel)
    # Maps coordinates of the canvas to those of the level; both count from sample centres.
    matrix = np.float64(
        [
            [x_step, 0, peak.x * per_pixel[0] + (x_step - 1) / 2],
            [0, y_step, peak.y * per_pixel[1] + (y_step - 1) / 2],
        ]
    )
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(level, matrix, (CANVAS, CANVAS), flags=flags, borderValue=0)


def refined(residuals: Residuals, peak: Peak, pattern: Pattern) -> tuple[Peak, np.ndarray]:
    """The peak moved to the best scale and place nearby, and its coefficients."""
    best = (peak, coefficients(canvas_at(residuals, peak), pattern))
    for step in (_SCALE_STEP - 1) * np.float64([-0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75]):
        side = peak.side * (1 + step)
        moved = Peak(0, peak.x - (side - peak.side) / 2, peak.y - (side - peak.side) / 2, side)
        for _ in range(2):  # the second pass starts within half a sample
            canvas = canvas_at(residuals, moved)
            dx, dy = _offset(canvas, pattern)
            pixels = side / CANVAS
            moved = Peak(0, moved.x + dx * pixels, moved.y + dy * pixels, side)
        turned = coefficients(canvas_at(residuals, moved), pattern)
        score = sync_score(turned, pattern)
        if score > best[0].score or best[0] is peak:
            best = (dataclasses.replace(moved, score=score), turned)
    return best


def _scales(residuals, share):
    """Shares of the scale grid that are searched at the level `share`."""
    short = min(residuals.height, residuals.width)
    levels = np.array(list(residuals.levels))
    count = int(np.log(LARGEST_SHARE / SMALLEST_SHARE) / np.log(_SCALE_STEP))
    scales = LARGEST_SHARE / _SCALE_STEP ** np.arange(count + 1)
    nearest = levels[np.abs(np.log(scales[:, None] / levels)).argmin(1)]
    return scales[(nearest == share) & (scales * short >= SMALLEST_SIDE)]


def _correlate(picture, templates):
    """Best (score, x, y) of each template in `picture`, offsets in samples."""
    height, width = (cv2.getOptimalDFTSize(length + 2 * _MARGIN) for length in picture.shape)
    padded = np.zeros([height, width], np.float32)
    padded[_MARGIN : _MARGIN + picture.shape[0], _MARGIN : _MARGIN + picture.shape[1]] = picture
    y = np.fft.fftfreq(height, 1 / CANVAS)[:, None]
    x = np.fft.rfftfreq(width, 1 / CANVAS)[None]
    radius = np.float32(np.hypot(y, x))
    spectrum = np.fft.rfft2(padded)
    inside = (radius >= LOWEST) & (radius <= HIGHEST)
    amplitude = np.ones_like(radius)
    amplitude[inside] = _amplitude(spectrum[inside], radius[inside])
    spectrum = np.where(inside, spectrum / amplitude, 0).astype(np.complex64)
    spectrum *= 1 / (1 + (radius / _SOFT_END) ** 4)
    deviation = _deviation(np.fft.irfft2(spectrum, [height, width]))
    rows = max(1, min(height, picture.shape[0] + 2 * _MARGIN - CANVAS + 1))
    columns = max(1, min(width, picture.shape[1] + 2 * _MARGIN - CANVAS + 1))
    for template in templates:
        product = spectrum * np.conj(np.fft.rfft2(template, [height, width]))
        surface = np.fft.irfft2(product, [height, width])
        scores = surface[:rows, :columns] / deviation[:rows, :columns]
        top, left = divmod(int(scores.argmax()), columns)
        yield float(scores[top, left]), left - _MARGIN, top - _MARGIN


def _deviation(whitened):
    """Standard deviation of a random sync pattern's correlation with the canvas-sized part of
    `whitened` [H, W] that begins at each sample.

    Where that part is nearly empty, the mean over all parts is used: an empty area scores nothing.
    """
    height, width = whitened.shape
    window = (min(CANVAS, width), min(CANVAS, height))
    energy = cv2.boxFilter(
        whitened * whitened,
        -1,
        window,
        anchor=(0, 0),
        normalize=False,
        borderType=cv2.BORDER_CONSTANT,
    )
    # The pattern has variance 1 and all its power in the band.
    in_band = CANVAS**2 / (np.pi * (HIGHEST**2 - LOWEST**2))
    return np.sqrt(in_band * np.maximum(energy, energy.mean()))


def _offset(canvas, pattern):
    """The small shift (dx, dy) in samples at which the sync pattern fits best."""
    turned = coefficients(canvas, pattern)
    spectrum = np.zeros([CANVAS, CANVAS // 2 + 1], np.complex64)
    spectrum[pattern.rows, pattern.columns] = turned
    fine = 4
    padded = np.zeros([CANVAS * fine, CANVAS * fine // 2 + 1], np.complex64)
    half = CANVAS // 2
    padded[:half, : half + 1] = spectrum[:half]
    padded[-half:, : half + 1] = spectrum[half:]
    surface = np.fft.irfft2(padded, [CANVAS * fine, CANVAS * fine])
    reach = 2 * fine
    near = np.roll(surface, (reach, reach), (0, 1))[: 2 * reach + 1, : 2 * reach + 1]
    top, left = divmod(int(near.argmax()), 2 * reach + 1)
    return (left - reach) / fine, (top - reach) / fine


def _amplitude(values, radius):
    """Smooth amplitude of complex values over the radius, by which residuals are whitened."""
    power = np.log(np.abs(values) ** 2 + 1e-9)
    fit = np.polynomial.Polynomial.fit(np.log(radius), power, 2)
    return np.exp(fit(np.log(radius)) / 2)
