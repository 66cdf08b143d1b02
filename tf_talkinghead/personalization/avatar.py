"""One person as an avatar: weights of G, divided by their spectral norms, and psi_hat.

In the work folder an avatar is avatar.npz (weights in the folded generator's order, psi_hat,
reference landmarks) and avatar.json (config, mode, facts, history), each written atomically.
"""

import dataclasses
import functools
import io
import json
import os
import pathlib

import numpy as np
import tensorflow as tf

from tf_talkinghead import config as configs
from tf_talkinghead import files
from tf_talkinghead.config import Config, ModelConfig
from tf_talkinghead.errors import InputError
from tf_talkinghead.files import sha256
from tf_talkinghead.images import to_uint8
from tf_talkinghead.models.generators import make_folded_generator
from tf_talkinghead.personalization.photos import Photos, resized_photos
from tf_talkinghead.personalization.rendering import render_direct, render_guided

ARRAYS_FILE = "avatar.npz"
FACTS_FILE = "avatar.json"
# Exceptions of reading damaged arrays or JSON.
UNREADABLE = (AttributeError, OSError, KeyError, TypeError, ValueError)
# Modes that leave the generator unchanged, so that the person fits into the bank.
SHARED_MODES = ("feed_forward", "vector")


@dataclasses.dataclass(frozen=True)
class Facts:
    """How an avatar was made, for its card; None where a fact is unknown or does not apply."""

    images: int | None = None  # T
    steps: int | None = None  # generator updates behind these weights
    # Mean content loss on the images trained on; none without training.
    loss_before: float | None = None
    loss_after: float | None = None
    face_similarity: float | None = None  # centred cosine of renders to the images, -1 to 1
    seconds: float | None = None  # of personalising
    # Scores by step, see progress.py.
    tradeoff: list[dict] = dataclasses.field(default_factory=list)
    trained_weights_sha256: str | None = None  # of the weights file it was made from
    trained_on: str | None = None  # name of the run or of the shipped weights
    inputs_sha256: list[str] = dataclasses.field(default_factory=list)  # of the files given
    crop: dict | None = None  # of the reference frame in its whole picture, see ground.py
    # Of the person shown: {"statement", "by", "when"}; None where nobody stated any.
    consent: dict | None = None

    def to_dict(self) -> dict:
        """As stored in avatar.json and passed to the card."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, stored: dict) -> "Facts":
        """The facts that `to_dict` gave; names that this version does not know are left out."""
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in stored.items() if name in names})


@dataclasses.dataclass
class Avatar:
    """The result of personalisation, from which frames are rendered and exports are made."""

    config: Config
    mode: str  # "fine_tune", "feed_forward" or "vector"
    weights: list[np.ndarray]  # of FoldedGenerator, in its own order
    psi_hat: np.ndarray  # [A] float32
    reference_landmarks: np.ndarray  # [68, 2], a neutral frame
    facts: Facts = dataclasses.field(default_factory=Facts)
    history: list[dict] = dataclasses.field(default_factory=list)  # scores of each evaluation

    photos: Photos | None = None  # of a guided avatar

    @property
    def reference_pupils(self) -> np.ndarray | None:
        """Pupils [2, 2] of the neutral frame; None if it is no photo or does not show them."""
        if self.photos is None:
            return None
        off = np.abs(self.photos.landmarks - self.reference_landmarks).max(axis=(1, 2))
        pupils = self.photos.pupils[int(off.argmin())]
        return pupils if off.min() < 1e-5 and np.isfinite(pupils).all() else None

    def forward(self, landmarks, psi_hat):
        """x_hat [B, S, S, 3] of landmarks [B, 68, 2], psi_hat [B, A]; traced at the first use."""
        if not hasattr(self, "_forward"):
            self._forward = tf.function(self._renderer(), autograph=False, reduce_retracing=True)
        return self._forward(landmarks, psi_hat)

    def _renderer(self):
        config, photos = self.config.model, self.photos
        network = folded_generator(config, self.weights)
        if photos is None:
            return functools.partial(render_direct, config, network)
        return functools.partial(
            render_guided,
            config,
            network,
            photos=tf.constant(photos.images),
            small=tf.constant(resized_photos(photos.images, config.working_size)),
            photo_landmarks=tf.constant(photos.landmarks),
            photo_pupils=tf.constant(photos.pupils),
            offsets=tf.constant(photos.offsets),
        )


def render(avatar: Avatar, landmarks: np.ndarray, batch_size: int = 16) -> np.ndarray:
    """Frames uint8 [B, H, W, 3] of landmarks float32 [B, 68, 2], `batch_size` rows at a time."""
    landmarks = np.asarray(landmarks, np.float32)
    size = avatar.config.model.image_size
    frames = np.empty((len(landmarks), size, size, 3), np.uint8)
    for start in range(0, len(landmarks), batch_size):
        rows = landmarks[start : start + batch_size]
        psi_hat = np.repeat(np.asarray(avatar.psi_hat, np.float32)[None], len(rows), axis=0)
        x_hat = avatar.forward(tf.constant(rows), tf.constant(psi_hat))
        frames[start : start + len(rows)] = to_uint8(x_hat)
    return frames


def folded_generator(config: ModelConfig, weights: list[np.ndarray], dtype: str = "float32"):
    """G of `config` as it is served, with `weights`; InputError if they are of another network."""
    # Every op's name in an export begins with this name.
    network = make_folded_generator(config, dtype=dtype, name="G")
    if [tuple(w.shape) for w in network.weights] != [np.shape(w) for w in weights]:
        raise InputError(
            "these weights are of another network than their config describes; personalise again"
        )
    network.set_weights(weights)
    return network


def generator_sha256(avatar: Avatar) -> str | None:
    """SHA-256 of the weights file that the avatar was made from; None where that is not known.

    In SHARED_MODES it identifies the generator that psi_hat belongs to: people for whom it is equal
    can share a bank.
    """
    return avatar.facts.trained_weights_sha256


def save_avatar(avatar: Avatar, folder: str | os.PathLike) -> None:
    """Writes `avatar` into `folder`; the JSON is written last and holds the arrays' SHA-256."""
    folder = pathlib.Path(folder)
    arrays = {f"weight_{i:04d}": w for i, w in enumerate(avatar.weights)}
    if avatar.photos is not None:
        arrays.update({f"photo_{name}": array for name, array in vars(avatar.photos).items()})
    buffer = io.BytesIO()
    np.savez(
        buffer, psi_hat=avatar.psi_hat, reference_landmarks=avatar.reference_landmarks, **arrays
    )
    content = buffer.getvalue()
    files.write_atomically(folder / ARRAYS_FILE, content)
    description = {
        "config": json.loads(configs.to_json(avatar.config)),
        "mode": avatar.mode,
        "facts": avatar.facts.to_dict(),
        "history": avatar.history,
        "arrays_sha256": sha256(content),
    }
    files.write_atomically(folder / FACTS_FILE, (json.dumps(description, indent=1) + "\n").encode())


def load_avatar(folder: str | os.PathLike) -> Avatar:
    """The avatar that `save_avatar` wrote; InputError if there is none or it cannot be read."""
    folder = pathlib.Path(folder)
    if not (folder / FACTS_FILE).exists():
        raise InputError(f"{folder}: no finished avatar here; run scripts.personalize first")
    try:
        description = files.read_json(folder / FACTS_FILE)
        config = configs.from_json(json.dumps(description["config"]))
        content = (folder / ARRAYS_FILE).read_bytes()
        if sha256(content) != description["arrays_sha256"]:  # a kill between the two files
            raise ValueError(f"{ARRAYS_FILE} is not the one {FACTS_FILE} was written for")
        with files.ArrayFile(io.BytesIO(content)) as arrays:
            weights = [arrays[name] for name in sorted(arrays.names) if name.startswith("weight_")]
            psi_hat, reference = arrays["psi_hat"], arrays["reference_landmarks"]
            names = [name for name in arrays.names if name.startswith("photo_")]
            photos = {name.removeprefix("photo_"): arrays[name] for name in names}
        return Avatar(
            config,
            description["mode"],
            weights,
            psi_hat,
            reference,
            Facts.from_dict(description["facts"]),
            description["history"],
            Photos(**photos) if photos else None,
        )
    except UNREADABLE as error:  # ConfigError is a ValueError and names the schema
        raise InputError(
            f"{folder}: not an avatar this version can read ({error}); personalise again"
        ) from error
