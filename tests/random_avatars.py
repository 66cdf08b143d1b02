"""Avatars with random weights, for tests in which the rendered picture does not matter."""

import dataclasses

import keras
import numpy as np

from tests.face_points import COLLINS
from tf_talkinghead.config import preset, replace
from tf_talkinghead.faces.geometry import turned
from tf_talkinghead.models.generator import adain_size
from tf_talkinghead.models.generators import make_generator
from tf_talkinghead.models.layers import converge_spectral_norms
from tf_talkinghead.personalization.avatar import Avatar, Facts
from tf_talkinghead.personalization.photos import Photos


def tiny_guided(size=64):
    """The 32-px preset's networks as a guided generator of `size` px."""
    changes = {
        "generator": "guided",
        "foreground": True,
        "image_size": size,
        "embedder_channels": _channels(size // 2),
        "flow_size": 16,
        "attention_down_size": 0,
    }
    return replace(preset("tiny"), {f"model.{name}": value for name, value in changes.items()})


def _channels(working_size):
    """The tiny preset's channels for a network of another size: one number a halving."""
    return (8, 16, *[16] * (working_size.bit_length() - 5))


def random_generator(config, seed=0):
    """A generator of random weights whose spectral norms have converged."""
    keras.utils.set_random_seed(seed)
    generator = make_generator(config.model)
    converge_spectral_norms(generator)
    return generator


def random_avatar(name="tiny", seed=0, mode="fine_tune", size=None):
    """An avatar of preset `name`, of `size` px if given, and the generator it was folded from.

    It names a weights file that does not exist, with the SHA-256 `weights_sha256(seed)`.
    """
    config = preset(name)
    if size is not None:
        changes = {"image_size": size, "embedder_channels": _channels(size)}
        config = replace(config, {f"model.{name}": value for name, value in changes.items()})
    generator = random_generator(config, seed)
    psi_hat = (
        np.random.default_rng(seed).normal(0, 0.5, adain_size(config.model)).astype(np.float32)
    )
    facts = Facts(images=1, steps=0, trained_weights_sha256=weights_sha256(seed))
    weights = generator.folded("float32").get_weights()
    return Avatar(config, mode, weights, psi_hat, COLLINS, facts), generator


def random_guided_avatar(seed=0, size=64):
    """A guided avatar of random weights, with two photos of noise whose pupils are known."""
    config = tiny_guided(size)
    generator = random_generator(config, seed)
    coarse = np.random.default_rng(seed).integers(0, 255, (2, 8, 8, 3)).astype(np.uint8)
    landmarks = np.float32([COLLINS, turned(COLLINS, yaw=12.0)])
    pupils = np.stack([landmarks[:, 36:42].mean(1), landmarks[:, 42:48].mean(1)], 1)
    photos = Photos(coarse.repeat(size // 8, 1).repeat(size // 8, 2), landmarks, pupils)
    psi_hat = np.random.default_rng(seed).normal(0, 0.1, generator.adain_size).astype(np.float32)
    weights = generator.folded("float32").get_weights()
    facts = Facts(images=2, steps=0, trained_weights_sha256=weights_sha256(seed))
    return Avatar(config, "feed_forward", weights, psi_hat, COLLINS, facts, photos=photos)


def random_guided_people():
    """{name: avatar} of three people on one guided generator, with two, one and two photos."""
    ann = random_guided_avatar()
    return {"ann": ann, "bob": _another(ann, 1, count=1), "cem": _another(ann, 2, count=2)}


def _another(avatar, seed, count):
    """Another person on the same generator: other photos, another vector and reference."""
    coarse = np.random.default_rng(seed).integers(0, 255, (count, 8, 8, 3)).astype(np.uint8)
    given = avatar.photos
    photos = Photos(coarse.repeat(8, 1).repeat(8, 2), given.landmarks[:count], given.pupils[:count])
    changes = {"photos": photos, "psi_hat": np.roll(avatar.psi_hat, seed)}
    changes["reference_landmarks"] = avatar.reference_landmarks + np.float32(0.01 * seed)
    return dataclasses.replace(avatar, **changes)


def weights_sha256(seed=0):
    """The SHA-256 of the weights file that the avatars of `random_avatar(seed=seed)` name."""
    return f"{seed:064x}"
