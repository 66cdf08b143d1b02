"""Bad input to the networks is refused by name, eagerly and while a graph is traced."""

import numpy as np
import pytest
import tensorflow as tf

from tests.made_networks import calls, made, pictures
from tf_talkinghead.errors import InputError
from tf_talkinghead.models.discriminator import (
    Discriminator,
    PersonalDiscriminator,
    RealismNetwork,
)
from tf_talkinghead.models.embedder import Embedder
from tf_talkinghead.models.generator import Generator

X, Y = pictures(2, 32)


@pytest.mark.parametrize(
    ("name", "inputs", "said"),
    [
        (
            "embedder",
            (X[:, :16], Y),
            r"x: expected floats \[B, 32, 32, 3\] in \[-1, 1\], got shape \(2, 16, 32, 3\)",
        ),
        ("embedder", (X[0], Y), "x: expected .* got shape"),
        ("embedder", (X, Y[..., :1]), r"y: expected .* got shape \(2, 32, 32, 1\)"),
        ("embedder", (X * 127.5 + 127.5, Y), r"x: expected .* got values from .* to 25"),
        ("embedder", ((X * 100).astype(np.uint8), Y), "x: expected .* got uint8 values"),
        ("embedder", (X, Y * 255), r"y: expected .* in \[0, 1\], got values"),
        ("embedder", (X * np.nan, Y), "x: expected .* got NaN or infinity"),
        (
            "generator",
            (Y, np.zeros((2, 7), np.float32)),
            r"psi_hat: expected floats \[B, 192\], got shape \(2, 7\)",
        ),
        ("generator", (X, np.zeros((2, 192), np.float32)), "y: expected"),
        (
            "generator",
            (Y, np.full((2, 192), np.inf, np.float32)),
            "psi_hat: .* got NaN or infinity",
        ),
        ("generator", (Y,), "either psi_hat .* or e_hat"),
        (
            "generator",
            (Y, np.zeros((2, 192), np.float32), np.zeros((2, 16), np.float32)),
            "either psi_hat .* or e_hat",
        ),
        ("folded", (Y, np.zeros((2, 191), np.float32)), "psi_hat: expected"),
        ("discriminator", (X, Y, np.array([0, 3])), "index: expected 0 to 2, got 0 to 3"),
        ("discriminator", (X, Y, np.array([-1, 0])), "index: expected 0 to 2"),
        (
            "discriminator",
            (X, Y, np.array([0.0, 1.0])),
            r"index: expected integers \[B\], got float64",
        ),
        ("personal", (Y * 255, Y), "x: expected"),
    ],
)
def test_bad_input_is_refused_by_name(tiny, name, inputs, said):
    kind, arguments, _ = calls(tiny.model)[name]
    with pytest.raises(InputError, match=said):
        made(kind, tiny.model, *arguments)(*inputs)


def test_wrong_projections_and_row_counts_are_refused_by_name(tiny):
    with pytest.raises(InputError, match=r"e_hat: expected floats \[B, 16\], got shape \(2, 5\)"):
        made(Generator, tiny.model).project(np.zeros((2, 5), np.float32))
    with pytest.raises(InputError, match="videos: expected a positive integer, got 0"):
        Discriminator(tiny.model, 0)
    V = made(RealismNetwork, tiny.model)
    with pytest.raises(InputError, match="e_new: expected"):
        PersonalDiscriminator.from_parts(
            tiny.model, V, np.zeros(16, np.float32), 0.0, np.zeros(8, np.float32)
        )


def test_shapes_are_refused_while_a_graph_is_traced(tiny):
    E = made(Embedder, tiny.model)
    with pytest.raises(InputError, match="x: expected"):
        tf.function(lambda x, y: E(x, y)).get_concrete_function(
            tf.TensorSpec([None, 31, 32, 3]), tf.TensorSpec([None, 32, 32, 3])
        )
