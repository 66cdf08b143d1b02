"""Who is it? Face vectors of dlib's recognition network, and how near two of them are.

    vectors = face_vectors(images, landmarks)      # uint8 [B,H,W,3], float32 [B,68,2] -> float32 [B,128]
    csim = centred_cosine(vectors, others)         # [B], near 0 for strangers
    distance = face_distance(vectors, others)      # [B], dlib's own rule: below 0.6 is the same person

A face is cut out as dlib cuts it (`get_face_chip`, 150 pixels, padding 0.25), from the 68 landmarks, so
that the network sees what it was trained on. The raw cosine of two vectors hardly separates people (0.96
for one person, 0.89 for two), because all of them share a large common part; `face_mean.json` holds that
part, the mean over many people, and `centred_cosine` takes it off both sides first.
"""

import functools
import importlib.resources
import json

import cv2
import numpy as np

from tf_talkinghead.errors import InputError

CHIP_SIZE = 150  # pixels; what the network was trained on
CHIP_PADDING = 0.25  # of the mean face's extent, on each side; as above
SAME_PERSON = 0.6  # dlib's threshold on the distance
VECTOR_SIZE = 128
BATCH = 16  # faces in one pass of the network

# The landmarks dlib aligns by (nose, eyes, lips without the lower edge) and where its mean face has them, in a unit square.
ALIGNED = (*range(27, 55), *range(60, 65))
MEAN_FACE = np.array(
    [
        (0.490127, 0.203352),
        (0.490127, 0.307009),
        (0.490127, 0.409805),
        (0.490127, 0.515625),
        (0.366880, 0.587326),
        (0.426036, 0.609345),
        (0.490127, 0.628106),
        (0.554217, 0.609345),
        (0.613373, 0.587326),
        (0.121737, 0.216423),
        (0.187122, 0.178758),
        (0.265825, 0.179852),
        (0.334606, 0.231733),
        (0.260918, 0.245099),
        (0.182743, 0.244077),
        (0.645647, 0.231733),
        (0.714428, 0.179852),
        (0.793132, 0.178758),
        (0.858516, 0.216423),
        (0.797510, 0.244077),
        (0.719335, 0.245099),
        (0.254149, 0.780233),
        (0.340985, 0.745405),
        (0.428858, 0.727388),
        (0.490127, 0.742578),
        (0.551395, 0.727388),
        (0.639268, 0.745405),
        (0.726104, 0.780233),
        (0.290379, 0.784792),
        (0.428096, 0.778746),
        (0.490127, 0.785343),
        (0.552157, 0.778746),
        (0.689874, 0.784792),
    ]
)


def face_vectors(images, landmarks):
    """dlib's 128 numbers of each face: uint8 RGB [B,H,W,3] and float32 [B,68,2] (fractions) -> float32 [B,128]."""
    chips = face_chips(images, landmarks)
    if not len(chips):
        return np.zeros((0, VECTOR_SIZE), np.float32)
    network = _network()
    parts = []
    for start in range(0, len(chips), BATCH):
        part = chips[start : start + BATCH].astype(np.float32)
        parts.append(np.asarray(network(part)))
    return np.concatenate(parts)


def face_chips(images, landmarks):
    """The aligned faces, uint8 RGB [B,150,150,3], of uint8 RGB [B,H,W,3] with landmarks [B,68,2] in fractions."""
    images, landmarks = np.asarray(images), np.asarray(landmarks, np.float64)
    if images.ndim != 4 or images.dtype != np.uint8 or landmarks.shape != (len(images), 68, 2):
        raise InputError(
            "face chips: expected uint8 images [B,H,W,3] and landmarks [B,68,2], "
            f"got {images.dtype} {list(images.shape)} and {list(landmarks.shape)}"
        )
    # A fraction counts from the image's edge, dlib's points from the centre of the first pixel.
    scale = np.array(images.shape[2:0:-1], np.float64)
    chips = [
        _extract(image, chip_box(points * scale - 0.5))
        for image, points in zip(images, landmarks, strict=True)
    ]
    return np.stack(chips) if chips else np.zeros((0, CHIP_SIZE, CHIP_SIZE, 3), np.uint8)


def chip_box(points, size=CHIP_SIZE, padding=CHIP_PADDING):
    """Where the chip lies: landmarks [68,2] in pixels -> corners float64 [3,2] (top left, top right, bottom left).

    dlib's `get_face_chip_details`: the similarity that brings the mean face nearest to the landmarks, in the
    sense of least squares; what it does to the chip's square is the box.
    """
    face = (padding + MEAN_FACE) / (2 * padding + 1) * size
    target = np.asarray(points, np.float64)[list(ALIGNED)]
    face_mean, target_mean = face.mean(0), target.mean(0)
    a, b = face - face_mean, target - target_mean
    # In complex numbers the best rotation and scale is one quotient.
    a, b = a[:, 0] + 1j * a[:, 1], b[:, 0] + 1j * b[:, 1]
    turn = np.vdot(a, b) / np.vdot(a, a)
    centre = complex(*(size / 2 - face_mean)) * turn + complex(*target_mean)
    half = (size * abs(turn) - 1) / 2  # dlib's boxes count pixels: side = right - left + 1
    corners = half * np.array([-1 - 1j, 1 - 1j, -1 + 1j]) * turn / abs(turn) + centre
    return np.stack([corners.real, corners.imag], -1)


def _extract(image, corners, size=CHIP_SIZE):
    """The chip of uint8 `image` [H,W,3] whose corners are given, as dlib samples it: bilinear, black outside."""
    halvings, side, grow = 0, np.linalg.norm(corners[1] - corners[0]), 2
    while (
        side / 2 + 1
    ) ** 2 > size**2:  # shrunk by more than two, bilinear sampling would skip pixels
        halvings, side, grow = halvings + 1, side / 2, grow * 2 + 2
    if halvings:
        image, corners = _cut_out(image, corners, grow)
    for _ in range(halvings):
        blurred = cv2.sepFilter2D(image.astype(np.float32), -1, _BINOMIAL, _BINOMIAL)
        image = np.floor(blurred[2:-2:2, 2:-2:2]).astype(np.uint8)
        centre = corners[1:].mean(0)
        corners = (corners - centre) / 2 + (
            centre / 2 - (1.25, 0.75)
        )  # dlib's own offsets for one level down
    steps = np.arange(size) / (size - 1)
    across, down = corners[1] - corners[0], corners[2] - corners[0]
    positions = corners[0] + steps[None, :, None] * across + steps[:, None, None] * down
    return _bilinear(image, positions)


def _cut_out(image, corners, grow):
    """The part of `image` round the chip, and the corners in it: dlib halves only that, which fixes the pixels kept."""
    fourth = corners[1] + corners[2] - corners[0]
    everything = np.concatenate([corners, fourth[None]])
    low = np.maximum(np.floor(everything.min(0) - grow + 0.5), 0).astype(int)
    high = np.minimum(np.floor(everything.max(0) + grow + 0.5) + 1, image.shape[1::-1]).astype(int)
    if (high - low < 8).any():
        raise InputError("face chips: the landmarks lie outside the image")
    return image[low[1] : high[1], low[0] : high[0]], corners - low


_BINOMIAL = np.array([1, 4, 6, 4, 1], np.float32) / 16


def _bilinear(image, positions):
    """uint8 `image` [H,W,3] at float (x, y) `positions` [h,w,2]: truncated to uint8, black where a neighbour is missing."""
    left, top = (
        np.floor(positions).astype(np.int64)[..., 0],
        np.floor(positions).astype(np.int64)[..., 1],
    )
    inside = (left >= 0) & (top >= 0) & (left + 1 < image.shape[1]) & (top + 1 < image.shape[0])
    left, top = np.where(inside, left, 0), np.where(inside, top, 0)
    fx = np.where(inside, positions[..., 0] - left, 0)[..., None]
    fy = np.where(inside, positions[..., 1] - top, 0)[..., None]
    pixels = image.astype(np.float64)
    upper = (1 - fx) * pixels[top, left] + fx * pixels[
        top, np.minimum(left + 1, image.shape[1] - 1)
    ]
    below = np.minimum(top + 1, image.shape[0] - 1)
    lower = (1 - fx) * pixels[below, left] + fx * pixels[
        below, np.minimum(left + 1, image.shape[1] - 1)
    ]
    values = (1 - fy) * upper + fy * lower
    return np.where(inside[..., None], values, 0).astype(np.uint8)


def centred_cosine(a, b, mean=None):
    """Cosine of face vectors [...,128] after the mean over many people is taken off both; [...] in -1..1."""
    mean = face_mean() if mean is None else mean
    a, b = np.asarray(a, np.float64) - mean, np.asarray(b, np.float64) - mean
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return (a * b).sum(-1) / np.maximum(lengths, 1e-12)


def face_distance(a, b):
    """Euclidean distance of face vectors [...,128]; dlib takes less than SAME_PERSON for one person."""
    return np.linalg.norm(np.asarray(a, np.float64) - np.asarray(b, np.float64), axis=-1)


def rank_of_truth(probes, gallery, truth, mean=None):
    """1-based rank of gallery row `truth` for each probe [B,128], rows of `gallery` [P,128] ordered by centred cosine.

    Rank 1 means: of all these people it looks most like the right one. Ties count against the probe.
    """
    similarity = centred_cosine(np.asarray(probes)[:, None], np.asarray(gallery)[None], mean)
    others = np.delete(similarity, truth, axis=1)
    return 1 + (others >= similarity[:, truth : truth + 1]).sum(1)


@functools.cache
def face_mean():
    """The shipped mean of face vectors over many people, float64 [128]; `face_mean.json` says how it was made."""
    text = importlib.resources.files("tf_talkinghead.faces").joinpath("face_mean.json").read_text()
    return np.array(json.loads(text)["mean"], np.float64)


def mean_over_people(vectors_by_person):
    """{person: vectors [n,128]} -> [128]: the mean of the people's own means, so that long clips weigh no more."""
    return np.mean([np.mean(vectors, axis=0) for vectors in vectors_by_person.values()], axis=0)


@functools.cache
def _network():
    """float32 RGB 0..255 [B,150,150,3] -> [B,128]: dlib's network in Keras."""
    from tf_talkinghead.models.perceptual import (
        face_network,  # here: it loads TensorFlow
    )

    return face_network()
