"""Face recognition: dlib's face vectors of 128 numbers, and the similarity of two faces.

    vectors = face_vectors(images, landmarks)      # uint8 [B,H,W,3], float32 [B,68,2] -> [B,128]
    csim = centred_cosine(vectors, others)         # [B], near 0 for strangers
    distance = face_distance(vectors, others)      # [B]; dlib: below 0.6 is the same person

The raw cosine of two vectors hardly separates people (0.96 for one person, 0.89 for two), because
all vectors share a large common part. `face_mean.json` holds that part, the mean over many people,
and `centred_cosine` subtracts it from both sides first.
"""

import functools
import importlib.resources
import json

import numpy as np

from tf_talkinghead.faces.chips import face_chips

SAME_PERSON = 0.6  # dlib's threshold on the distance
VECTOR_SIZE = 128
BATCH = 16  # faces in one pass of the network


def face_vectors(images, landmarks):
    """dlib's face vectors, from chips cut as dlib cuts them (chips.py).

    Args:
      images: uint8 RGB [B,H,W,3].
      landmarks: float32 [B,68,2], fractions of the image.

    Returns:
      float32 [B,128], of norm about 1.4.

    Raises:
      InputError: as `chips.face_chips`.
    """
    chips = face_chips(images, landmarks)
    if not len(chips):
        return np.zeros((0, VECTOR_SIZE), np.float32)
    network = _network()
    parts = []
    for start in range(0, len(chips), BATCH):
        part = chips[start : start + BATCH].astype(np.float32)
        parts.append(np.asarray(network(part)))
    return np.concatenate(parts)


def centred_cosine(a, b, mean=None):
    """Cosine of face vectors [...,128] after subtracting `mean` from both; [...] in -1..1.

    `mean` is the shipped mean over many people by default.
    """
    mean = face_mean() if mean is None else mean
    a, b = np.asarray(a, np.float64) - mean, np.asarray(b, np.float64) - mean
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return (a * b).sum(-1) / np.maximum(lengths, 1e-12)


def face_distance(a, b):
    """Euclidean distance of face vectors [...,128]; below SAME_PERSON dlib assumes one person."""
    return np.linalg.norm(np.asarray(a, np.float64) - np.asarray(b, np.float64), axis=-1)


def rank_of_truth(probes, gallery, truth, mean=None):
    """Rank (from 1) of gallery row `truth` for each probe, by centred cosine.

    Rank 1 means that the probe resembles that person most. Ties count against the probe.

    Args:
      probes: [B,128].
      gallery: [P,128], one row per person.
      truth: index of the gallery row of the probes' person.
      mean: as for `centred_cosine`.

    Returns:
      int [B], 1..P.
    """
    similarity = centred_cosine(np.asarray(probes)[:, None], np.asarray(gallery)[None], mean)
    others = np.delete(similarity, truth, axis=1)
    return 1 + (others >= similarity[:, truth : truth + 1]).sum(1)


@functools.cache
def face_mean():
    """Mean face vector over many people, float64 [128]; `face_mean.json` tells its origin."""
    path = importlib.resources.files("tf_talkinghead.faces").joinpath("face_mean.json")
    return np.array(json.loads(path.read_text("utf-8"))["mean"], np.float64)


@functools.cache
def _network():
    """dlib's network in Keras: float32 RGB 0..255 [B,150,150,3] -> [B,128]."""
    # Here, since it imports TensorFlow.
    from tf_talkinghead.models.perceptual import face_network

    return face_network()
