"""Builds every network of a configuration, and arguments to call it with."""

import numpy as np

from tf_talkinghead.models.blocks import SelfAttention
from tf_talkinghead.models.discriminator import (
    Discriminator,
    PersonalDiscriminator,
    RealismNetwork,
)
from tf_talkinghead.models.embedder import Embedder
from tf_talkinghead.models.generator import FoldedGenerator, Generator, adain_size


def pictures(batch, size, seed=0):
    """(x [B, size, size, 3] in [-1, 1], y the same in [0, 1])."""
    random = np.random.default_rng(seed)
    return tuple(
        random.uniform(low, 1, (batch, size, size, 3)).astype(np.float32) for low in (-1, 0)
    )


def embeddings(batch, size, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, size)).astype(np.float32)


def made(kind, config, *arguments, **options):
    network = kind(config, *arguments, **options)
    network.build()
    return network


def with_attention(network):
    """`network` with gains that let attention act; they start at 0."""
    for layer in network._flatten_layers():
        if isinstance(layer, SelfAttention):
            layer.gain.assign(0.5)
    return network


def calls(config):
    """{name: (class, constructor arguments after the config, arguments of a call)}."""
    x, y = pictures(2, config.image_size)
    psi = embeddings(2, adain_size(config)) * 0.5
    return {
        "embedder": (Embedder, (), (x, y)),
        "generator": (Generator, (), (y, psi)),
        "folded": (FoldedGenerator, (), (y, psi)),
        "v": (RealismNetwork, (), (x, y)),
        "discriminator": (Discriminator, (3,), (x, y, np.array([2, 0]))),
        "personal": (PersonalDiscriminator, (), (x, y)),
    }
