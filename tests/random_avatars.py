"""Avatars with random weights, for tests that export, serve or drive one whatever it shows."""

import keras
import numpy as np

from tests.face_points import COLLINS
from tf_talkinghead.config import preset
from tf_talkinghead.models.generator import Generator, adain_size
from tf_talkinghead.models.layers import converge_spectral_norms
from tf_talkinghead.personalization.avatar import Avatar, Facts


def random_generator(config, seed=0):
    """A `Generator` of random weights whose spectral norms have converged."""
    keras.utils.set_random_seed(seed)
    generator = Generator(config.model)
    generator.build()
    converge_spectral_norms(generator)
    return generator


def random_avatar(name="tiny", seed=0, mode="fine_tune"):
    """An avatar of preset `name` and the training generator it was folded from.

    Its weights file, which there is not, has the SHA-256 `weights_sha256(seed)`.
    """
    config = preset(name)
    generator = random_generator(config, seed)
    psi_hat = (
        np.random.default_rng(seed).normal(0, 0.5, adain_size(config.model)).astype(np.float32)
    )
    facts = Facts(images=1, steps=0, trained_weights_sha256=weights_sha256(seed))
    weights = generator.folded("float32").get_weights()
    return Avatar(config, mode, weights, psi_hat, COLLINS, facts), generator


def weights_sha256(seed=0):
    """The SHA-256 of the weights file that the avatars of `random_avatar(seed=seed)` name."""
    return f"{seed:064x}"
