"""Pupils: their positions in pictures whose 68 landmarks are known.

    pupils = find_pupils(images, landmarks)    # uint8 [T, H, W, 3], [T, 68, 2] -> float32 [T, 2, 2]

Gradient-based eye centres (Timm and Barth, "Accurate eye centre localisation by means of
gradients", VISAPP 2011): seen from the centre of an iris, the directions to the pixels around it
agree with the gradients there, which point from the dark iris to the white of the eye. This code
differs in three ways. Eyes are resampled to one size first, so that only pixels at the distance of
the iris's edge vote. Left and right edges have more weight, since the lids cover the others.
Directions are not squared, so that a bright spot does not count as a dark one and the whole sum
becomes two convolutions.

The settings were chosen on the twenty eyes marked "settings" in tests/pupil_marks.csv. On the
other twenty (256-px crops, glasses, gaze to all sides, dark and blurred frames among them) the
error is 1.9 % of the eye distance on average, median 1.5 %, worst 4.3 %; two markings by hand
differ by 1.0 %. All errors are below 5 %, about the width of a pupil. An eye takes half a
millisecond.
"""

import cv2
import numpy as np

from tf_talkinghead.errors import InputError
from tf_talkinghead.faces.geometry import LEFT_EYE, RIGHT_EYE

# Size in pixels of the patch to which an eye is resampled. The eye's corners are _EYE apart.
_WIDTH, _HEIGHT, _EYE = 56, 40, 32
_IRIS = 6.6  # radius of the iris in the patch; the iris is 11.7 mm wide in every adult
_EDGE = 2.0  # standard deviation of that distance
_NOISE = 1.0  # gradients below this share of the eye's mean gradient count little
_DARKNESS = 0.07  # weight of the darkness around a candidate, against the gradients' agreement
_DARK_RADIUS = 6  # pixels around a candidate whose darkness counts
_CENTRAL = 0.2  # score that a candidate loses at half the eye's width from the lids' middle
_SHARPNESS = 0.1  # scale of score differences in the weighted mean that gives the peak's position
_WINDOW = 3  # pixels to each side of the peak in that mean
_LIDS = 0.9  # share of the opening's height that is searched: lashes and make-up are at its edge

# Lid openings are shares of the eye's width. dlib never reports a shut eye as a line: its openings
# are 0.13 to 0.20 on shut eyes and from 0.15 on laughing ones. An eye below _SHUT counts as shut.
# No pupil is reported either where edges and contrast are too low to see an iris (sunglasses);
# the limit of contrast is higher for openings below _DOUBTFUL.
_SHUT, _DOUBTFUL = 0.145, 0.21
_FEW_EDGES = 0.05  # agreement of left and right edges, below which no iris is seen
_LITTLE_CONTRAST = 0.135  # standard deviation of grey over its mean, between the lids
_DOUBTFUL_CONTRAST = 0.20  # the same, where the lids are nearly shut
_BLINK = 0.6  # share of the clip's usual opening below which an eye counts as shut
_BLINK_FRAMES = 8  # frames that a clip needs for a usual opening


def find_pupils(images: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """The pupils' centres in the frames of a clip of one face, or in one photo (T = 1).

    Args:
      images: uint8 RGB [T, H, W, 3].
      landmarks: float [T, 68, 2], (x, y) as fractions of the frame's width and height.

    Returns:
      float32 [T, 2, 2], fractions of the frame, the person's right eye (landmarks 36-41) first. NaN
      for both eyes where they are shut, cannot be seen (sunglasses) or have landmarks that are not
      finite, and for an eye whose pupil lies outside the frame. In a clip of eight frames or more
      an opening below 0.6 of the usual one (the 75th percentile) counts as shut, so that blinks of
      narrow and of wide eyes are recognised.

    Raises:
      InputError: shapes or the images' type are not as above.
    """
    images, landmarks = np.asarray(images), np.asarray(landmarks, np.float64)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise InputError(
            f"images: expected uint8 [T, H, W, 3], got {images.dtype} {list(images.shape)}"
        )
    if landmarks.shape != (len(images), 68, 2):
        raise InputError(f"landmarks: expected [{len(images)}, 68, 2], got {list(landmarks.shape)}")
    height, width = images.shape[1:3]
    points = landmarks * (width, height) - 0.5  # the centre of the first pixel at 0
    found = np.stack([_in_frame(image, face) for image, face in zip(images, points)] or [_NONE])
    pupils = found[: len(images), :, :2]
    pupils[blinks(landmarks * (width, height))] = np.nan
    return ((pupils + 0.5) / (width, height)).astype(np.float32)


def lid_openings(points: np.ndarray) -> np.ndarray:
    """How far each eye is open, [..., 2], of points [..., 68, 2]: lids' distance over eye width.

    The width is that of the wider eye, so that an eye turned away does not count as more open.
    The person's right eye comes first. 0.25 to 0.4 on most open eyes.
    """
    eyes = np.stack([points[..., RIGHT_EYE, :], points[..., LEFT_EYE, :]], axis=-3)
    lids = np.linalg.norm(eyes[..., [1, 2], :] - eyes[..., [5, 4], :], axis=-1).mean(axis=-1)
    widths = np.linalg.norm(eyes[..., 3, :] - eyes[..., 0, :], axis=-1)
    return lids / np.maximum(widths.max(axis=-1, keepdims=True), 1e-9)


def blinks(points: np.ndarray) -> np.ndarray:
    """Frames of a clip whose eyes are shut, judged by the landmarks alone, bool [T].

    Args:
      points: float [T, 68, 2], in any unit that is the same across and down.
    """
    opening = lid_openings(points).mean(axis=-1)
    shut = opening < _SHUT
    known = opening[np.isfinite(opening)]
    if len(known) >= _BLINK_FRAMES:
        shut |= opening < _BLINK * np.percentile(known, 75)
    return shut


_NONE = np.full((2, 2), np.nan)


def _in_frame(image, points):
    """Both pupils in one frame, float64 [2, 2] in pixels; NaN where not seen."""
    eyes = np.stack([points[RIGHT_EYE], points[LEFT_EYE]])
    width = np.linalg.norm(eyes[:, 3] - eyes[:, 0], axis=-1).max()
    if not np.isfinite(eyes).all() or width < 2:
        return _NONE
    found = [_Eye(image, eye, width) for eye in eyes]
    doubtful = lid_openings(points).mean() < _DOUBTFUL
    edges = np.mean([eye.edges for eye in found])
    contrast = np.mean([eye.contrast for eye in found])
    if edges < _FEW_EDGES and contrast < (_DOUBTFUL_CONTRAST if doubtful else _LITTLE_CONTRAST):
        return _NONE
    pupils = np.stack([eye.pupil for eye in found])
    outside = (pupils < -0.5) | (pupils > np.array(image.shape[1::-1]) - 0.5)
    pupils[outside.any(axis=-1)] = np.nan
    return pupils


class _Eye:
    """One eye resampled to the patch's size, with its pupil, edges and contrast."""

    def __init__(self, image, points, width):
        """`points` [6, 2] in pixels of the image; `width` of the wider eye, pixels."""
        across = (points[3] - points[0]) / max(np.linalg.norm(points[3] - points[0]), 1e-9)
        turn = _EYE / width * np.array([across, [-across[1], across[0]]])
        middle = np.array([(_WIDTH - 1) / 2, (_HEIGHT - 1) / 2])
        shift = middle - turn @ points.mean(axis=0)
        place = np.column_stack([turn, shift])
        patch = cv2.warpAffine(
            image, place, (_WIDTH, _HEIGHT), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        opening = np.zeros((_HEIGHT, _WIDTH), np.float32)
        corners = (points @ turn.T + shift - middle) * (1.0, _LIDS) + middle
        cv2.fillConvexPoly(opening, np.round(corners * 16).astype(np.int32), 1.0, shift=4)
        # In red even light irises are darker than skin; the other channels reduce its noise.
        grey = cv2.GaussianBlur(cv2.transform(patch, _GREY).astype(np.float32), (0, 0), 0.5)
        score, self.edges = _scores(grey, opening)
        within = grey[opening > 0]
        self.contrast = within.std() / max(within.mean(), 1.0)
        self.pupil = np.linalg.solve(turn, _peak(np.where(opening > 0, score, -9.0)) - shift)


_GREY = np.array([[2 / 3, 1 / 6, 1 / 6]], np.float32)


def _scores(grey, opening):
    """Score of each pixel as an iris's centre, and the best agreement of left and right edges."""
    right = cv2.Sobel(grey, cv2.CV_32F, 1, 0, scale=1 / 8)
    down = cv2.Sobel(grey, cv2.CV_32F, 0, 1, scale=1 / 8)
    strength = cv2.magnitude(right, down)
    area = max(float(opening.sum()), 1.0)
    noise = _NOISE * float(np.sqrt((strength**2 * opening).sum() / area)) + 0.3
    weight = cv2.GaussianBlur(opening, (0, 0), 1.0) / (strength + noise)
    across = cv2.filter2D(right * weight, -1, _ACROSS)
    score = across + cv2.filter2D(down * weight, -1, _DOWN)
    within = grey[opening > 0]
    dark, light = np.percentile(within, [5, 95]) if len(within) else (0.0, 1.0)
    darkness = np.clip((light - grey) / max(light - dark, 4.0), 0.0, 1.0) * opening
    seen = np.maximum(cv2.filter2D(opening, -1, _DISC), 0.35 * _DISC.sum())
    score += _DARKNESS * cv2.filter2D(darkness, -1, _DISC) / seen - _FROM_MIDDLE
    return score, float(np.where(opening > 0, across, -1.0).max())


def _peak(score):
    """Position (x, y) of the highest score, between the pixels."""
    y, x = np.unravel_index(score.argmax(), score.shape)
    top, left = max(y - _WINDOW, 0), max(x - _WINDOW, 0)
    part = score[top : y + _WINDOW + 1, left : x + _WINDOW + 1]
    weights = np.exp((part - score[y, x]) / _SHARPNESS)
    rows, columns = np.mgrid[: part.shape[0], : part.shape[1]]
    place = np.array([(weights * columns).sum(), (weights * rows).sum()]) / weights.sum()
    return place + np.array([left, top])


def _edge_kernels():
    """Kernels that sum horizontal and vertical gradients at the edge of an iris at their centre."""
    reach = int(np.ceil(_IRIS + 2.5 * _EDGE))
    down, right = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    distance = np.hypot(right, down) + 1e-6
    ring = np.exp(-0.5 * ((distance - _IRIS) / _EDGE) ** 2)
    ring *= np.abs(right) / distance / ring.sum()
    return ring * right / distance, ring * down / distance


def _disc():
    down, right = np.mgrid[-_DARK_RADIUS : _DARK_RADIUS + 1, -_DARK_RADIUS : _DARK_RADIUS + 1]
    return (right**2 + down**2 <= _DARK_RADIUS**2).astype(np.float32)


def _from_middle():
    down, right = np.mgrid[:_HEIGHT, :_WIDTH] - np.array(
        [(_HEIGHT - 1) / 2, (_WIDTH - 1) / 2]
    ).reshape(2, 1, 1)
    return (_CENTRAL * (right**2 + down**2) / (_EYE / 2) ** 2).astype(np.float32)


_ACROSS, _DOWN = _edge_kernels()
_DISC, _FROM_MIDDLE = _disc(), _from_middle()
