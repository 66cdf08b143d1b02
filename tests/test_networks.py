"""E, V and G as the paper has them: sizes, parameter counts, attention, saving, dtypes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.made_networks import calls, embeddings, made, pictures, with_attention
from tf_talkinghead.benchmark.networks import count_parameters
from tf_talkinghead.config import preset, replace
from tf_talkinghead.models import layers
from tf_talkinghead.models.blocks import SelfAttention
from tf_talkinghead.models.discriminator import RealismNetwork
from tf_talkinghead.models.embedder import Embedder
from tf_talkinghead.models.generator import (
    FoldedGenerator,
    Generator,
    adain_size,
    adain_sizes,
)
from tf_talkinghead.models.layers import spectral_layers


def traced_sizes(parts, shape, psi_sizes=()):
    """Shapes [h, w, c] after each of the layers `parts`, by tracing alone.

    Attention is written as the text "attention".
    """
    sizes, psi = [], iter(psi_sizes)

    @tf.function
    def trace(h):
        for layer in parts:
            if isinstance(layer, SelfAttention):
                h = layer(h)
                sizes.append("attention")
            else:
                h = layer(h, tf.zeros([1, next(psi)])) if psi_sizes else layer(h)
                sizes.append(tuple(h.shape[1:]))
        return h

    trace.get_concrete_function(tf.TensorSpec([1, *shape]))
    return sizes


@pytest.fixture
def zero_kernels(monkeypatch):
    """Orthogonal kernels of 38 M parameters take a minute; where only shapes matter, zeros do."""
    monkeypatch.setattr(
        keras.initializers.Orthogonal, "__call__", lambda self, shape, dtype=None: tf.zeros(shape)
    )
    monkeypatch.setattr(layers, "_FIRST_ITERATIONS", 0)


def test_paper_sizes_and_parameter_counts(zero_kernels):
    """METHOD's table: E 14.9 M, V 19.6 M, G 31.4 M + P 6.7 M = 38.1 M, A = 13,056, attention at 32
    and 64.
    """
    config = preset("paper").model
    E, V, G = (made(kind, config) for kind in (Embedder, RealismNetwork, Generator))
    down = [(128, 128, 64), (64, 64, 128), (32, 32, 256), "attention", (16, 16, 512)]
    assert traced_sizes(E.down, (256, 256, 6)) == [*down, (8, 8, 512), (4, 4, 512)]
    assert traced_sizes([*V.down, V.last], (256, 256, 6)) == [
        *down,
        (8, 8, 512),
        (4, 4, 512),
        (4, 4, 512),
    ]
    assert traced_sizes(G.down, (256, 256, 3)) == down
    residual, up = (
        [(16, 16, 512)] * 4,
        [(32, 32, 512), (64, 64, 256), "attention", (128, 128, 128), (256, 256, 64)],
    )
    assert traced_sizes(G.up, (16, 16, 512), adain_sizes(config)) == [*residual, *up]
    millions = [count_parameters(network) / 1e6 for network in (E, V, G, G.P)]
    np.testing.assert_allclose(millions, [14.9, 19.6, 38.1, 6.7], atol=0.05)
    assert G.adain_size == adain_size(config) == 13056
    assert adain_sizes(config) == [2048] * 4 + [2048, 1536, 768, 384, 128]


@pytest.mark.parametrize(("name", "blocks", "attention"), [("demo", 5, 3), ("tiny", 3, 1)])
def test_smaller_presets_end_at_4x4_with_attention_where_its_size_exists(
    zero_kernels, name, blocks, attention
):
    config = preset(name).model
    size = config.image_size
    expected = [(size >> i + 1, size >> i + 1, c) for i, c in enumerate(config.embedder_channels)]
    assert (len(expected), expected[-1][0]) == (blocks, 4)
    expected.insert(attention, "attention")
    assert traced_sizes(made(Embedder, config).down, (size, size, 6)) == expected


def test_demo_is_small_enough_for_a_processor(zero_kernels):
    config = preset("demo").model
    networks = [made(kind, config) for kind in (Embedder, RealismNetwork, Generator)]
    assert 2e6 < count_parameters(networks[2]) - count_parameters(networks[2].P) < 4e6
    assert sum(map(count_parameters, networks)) < 12e6


def test_embedding_is_the_sum_over_positions_of_relu(tiny):
    E = with_attention(made(Embedder, tiny.model))
    x, y = pictures(2, 32)
    h = tf.concat([x, y], axis=-1)
    for layer in E.down:
        h = layer(h)
    np.testing.assert_allclose(E(x, y), np.maximum(h, 0).sum((1, 2)), rtol=1e-5)


def test_both_forms_of_the_generator_agree(tiny):
    G = with_attention(made(Generator, tiny.model))
    _, y = pictures(3, 32)
    e_hat = embeddings(3, 16)
    by_vector, by_person = G(y, psi_hat=G.project(e_hat)), G(y, e_hat=e_hat)
    np.testing.assert_allclose(by_vector, by_person, atol=1e-6)
    assert by_person.shape == (3, 32, 32, 3)
    assert np.abs(by_person).max() <= 1


@pytest.mark.parametrize("batch", [1, 3])
def test_rows_of_a_batch_do_not_touch_each_other(tiny, batch):
    x, y = pictures(3, 32)
    E, G = with_attention(made(Embedder, tiny.model)), with_attention(made(Generator, tiny.model))
    e_hat = embeddings(3, 16)
    np.testing.assert_allclose(E(x[:batch], y[:batch]), E(x, y)[:batch], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        G(y[:batch], e_hat=e_hat[:batch]), G(y, e_hat=e_hat)[:batch], atol=1e-4
    )


@pytest.mark.parametrize("folded", [False, True])
def test_every_slice_of_psi_changes_the_output(tiny, folded):
    """A pasted AdaIN whose second half is never read would leave a slice without effect."""
    G = with_attention(made(Generator, tiny.model))
    network = G.folded() if folded else G
    _, y = pictures(1, 32)
    psi_hat = embeddings(1, G.adain_size) * 0.3
    with tf.GradientTape() as tape:
        tape.watch(watched := tf.constant(psi_hat))
        value = tf.reduce_sum(network(y, psi_hat=watched) * embeddings(1, 3))
    assert np.count_nonzero(tape.gradient(value, watched)) > 0.97 * G.adain_size
    usual, start = network(y, psi_hat=psi_hat).numpy(), 0
    for size in adain_sizes(tiny.model):
        for half in (slice(start, start + size // 2), slice(start + size // 2, start + size)):
            changed = psi_hat.copy()
            changed[:, half] += 0.5
            assert np.abs(network(y, psi_hat=changed).numpy() - usual).max() > 1e-3
        start += size
    assert start == G.adain_size


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_folded_generator_is_the_same_function_without_sigma_and_p(tiny, policy):
    G = with_attention(made(Generator, tiny.model, dtype=policy))
    # nothing may be left at what it began with
    for number, weight in enumerate(G.trainable_weights):
        weight.assign_add(0.1 * np.random.default_rng(number).normal(size=weight.shape))
    folded = G.folded()
    _, y = pictures(2, 32)
    psi_hat = embeddings(2, G.adain_size) * 0.5
    np.testing.assert_allclose(folded(y, psi_hat), G(y, psi_hat=psi_hat), atol=1e-5)
    assert not spectral_layers(folded)
    assert count_parameters(folded) == count_parameters(G) - count_parameters(G.P)
    rebuilt = made(FoldedGenerator, tiny.model, dtype=policy)
    rebuilt.set_weights(folded.get_weights())
    np.testing.assert_array_equal(rebuilt(y, psi_hat), folded(y, psi_hat))


@pytest.mark.parametrize(
    "name", ["embedder", "generator", "folded", "v", "discriminator", "personal"]
)
def test_networks_survive_a_keras_file(tiny, tmp_path, name):
    kind, arguments, inputs = calls(tiny.model)[name]
    network = with_attention(made(kind, tiny.model, *arguments))
    for number, weight in enumerate(network.weights):
        weight.assign_add(0.05 * np.random.default_rng(number).normal(size=weight.shape))
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    assert loaded.get_config() == network.get_config()
    for ours, theirs in zip(
        tf.nest.flatten(network(*inputs)), tf.nest.flatten(loaded(*inputs)), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "name", ["embedder", "generator", "folded", "v", "discriminator", "personal"]
)
def test_mixed_bfloat16_computes_in_bfloat16_between_float32_ends(tiny, name):
    kind, arguments, inputs = calls(tiny.model)[name]
    exact, mixed = (
        with_attention(made(kind, tiny.model, *arguments, dtype=d))
        for d in ("float32", "mixed_bfloat16")
    )
    for number, weight in enumerate(exact.trainable_weights):
        weight.assign_add(0.05 * np.random.default_rng(number).normal(size=weight.shape))
    mixed.set_weights(exact.get_weights())
    assert {weight.dtype for weight in mixed.weights} == {"float32"}
    ours, theirs = tf.nest.flatten(mixed(*inputs)), tf.nest.flatten(exact(*inputs))
    assert ours[0].dtype == tf.float32
    assert all(activation.dtype == tf.bfloat16 for activation in ours[1:])
    assert 0 < np.abs(ours[0] - theirs[0]).mean() < 0.05 * np.abs(theirs[0]).mean()


def test_networks_work_under_a_function_with_unknown_batch(tiny):
    for kind, arguments, inputs in calls(tiny.model).values():
        network = made(kind, tiny.model, *arguments)
        signature = [tf.TensorSpec([None, *i.shape[1:]], tf.as_dtype(i.dtype)) for i in inputs]
        graph = tf.function(lambda *i, n=network: n(*i), input_signature=signature)
        for ours, theirs in zip(
            tf.nest.flatten(graph(*inputs)), tf.nest.flatten(network(*inputs)), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_attention_can_be_left_out():
    config = replace(
        preset("tiny"), {"model.attention_down_size": 0, "model.attention_up_size": 0}
    ).model
    for kind in (Embedder, Generator):
        assert not [
            layer
            for layer in made(kind, config)._flatten_layers()
            if isinstance(layer, SelfAttention)
        ]
