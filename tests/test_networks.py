"""E, V and G as the paper has them: sizes, parameter counts, attention, gradients, saving, dtypes, refusals."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_talkinghead import losses
from tf_talkinghead.benchmark.networks import count_parameters
from tf_talkinghead.config import preset, replace
from tf_talkinghead.errors import InputError
from tf_talkinghead.models import layers
from tf_talkinghead.models.blocks import SelfAttention
from tf_talkinghead.models.discriminator import Discriminator, PersonalDiscriminator, RealismNetwork
from tf_talkinghead.models.embedder import Embedder
from tf_talkinghead.models.generator import FoldedGenerator, Generator, adain_size, adain_sizes
from tf_talkinghead.models.layers import spectral_layers


def pictures(batch, size, seed=0):
    """(x [B, size, size, 3] in [-1, 1], y the same in [0, 1])."""
    random = np.random.default_rng(seed)
    return tuple(random.uniform(low, 1, (batch, size, size, 3)).astype(np.float32) for low in (-1, 0))


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


def traced_sizes(parts, shape, psi_sizes=()):
    """Shapes [h, w, c] after each of the layers `parts`, by tracing alone; attention is written as the text "attention"."""
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
    monkeypatch.setattr(keras.initializers.Orthogonal, "__call__", lambda self, shape, dtype=None: tf.zeros(shape))
    monkeypatch.setattr(layers, "_FIRST_ITERATIONS", 0)


def test_paper_sizes_and_parameter_counts(zero_kernels):
    """METHOD's table: E 14.9 M, V 19.6 M, G 31.4 M + P 6.7 M = 38.1 M, A = 13,056, attention at 32 and 64."""
    config = preset("paper").model
    E, V, G = (made(kind, config) for kind in (Embedder, RealismNetwork, Generator))
    down = [(128, 128, 64), (64, 64, 128), (32, 32, 256), "attention", (16, 16, 512)]
    assert traced_sizes(E.down, (256, 256, 6)) == [*down, (8, 8, 512), (4, 4, 512)]
    assert traced_sizes([*V.down, V.last], (256, 256, 6)) == [*down, (8, 8, 512), (4, 4, 512), (4, 4, 512)]
    assert traced_sizes(G.down, (256, 256, 3)) == down
    residual, up = [(16, 16, 512)] * 4, [(32, 32, 512), (64, 64, 256), "attention", (128, 128, 128), (256, 256, 64)]
    assert traced_sizes(G.up, (16, 16, 512), adain_sizes(config)) == [*residual, *up]
    millions = [count_parameters(network) / 1e6 for network in (E, V, G, G.P)]
    np.testing.assert_allclose(millions, [14.9, 19.6, 38.1, 6.7], atol=0.05)
    assert G.adain_size == adain_size(config) == 13056
    assert adain_sizes(config) == [2048] * 4 + [2048, 1536, 768, 384, 128]


@pytest.mark.parametrize(("name", "blocks", "attention"), [("demo", 5, 3), ("tiny", 3, 1)])
def test_smaller_presets_end_at_4x4_with_attention_where_its_size_exists(zero_kernels, name, blocks, attention):
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
    np.testing.assert_allclose(G(y[:batch], e_hat=e_hat[:batch]), G(y, e_hat=e_hat)[:batch], atol=1e-4)


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


def gradients(value, tape, network):
    return dict(zip([w.path for w in network.trainable_weights], tape.gradient(value, network.trainable_weights), strict=True))


def assert_all_act(found):
    for name, gradient in found.items():
        assert gradient is not None, name
        assert np.isfinite(tf.convert_to_tensor(gradient)).all(), name
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 1e-8, name


@pytest.fixture(scope="module")
def episode():
    """The networks of `tiny` with attention acting, and pictures for them."""
    config = preset("tiny").model
    E, G, D = made(Embedder, config), made(Generator, config), made(Discriminator, config, 5)
    for network in (E, G, D):
        with_attention(network)
    return E, G, D, *pictures(4, 32), np.array([0, 1, 2, 3, 4][:4], np.int32)


def test_a_gradient_reaches_every_weight_of_e_and_g(episode):
    """From each loss that trains them: content (here pixels), adversarial and feature matching."""
    E, G, D, x, y, index = episode
    terms = {
        "content": lambda x_hat: losses.pixel(x, x_hat),
        "adversarial": lambda x_hat: losses.adversarial(D(x_hat, y, index)[0]),
        "feature matching": lambda x_hat: losses.feature_matching(D(x, y, index)[1], D(x_hat, y, index)[1]),
    }
    for term in terms.values():
        with tf.GradientTape(persistent=True) as tape:
            value = term(G(y, e_hat=E(x, y)))
        assert_all_act(gradients(value, tape, E))
        assert_all_act(gradients(value, tape, G))


def test_a_gradient_reaches_every_weight_of_d(episode):
    E, G, D, x, y, index = episode
    x_hat = G(y, e_hat=E(x, y))
    with tf.GradientTape() as tape:
        value = losses.discriminator_hinge(D(x, y, index)[0] * 0.01, D(x_hat, y, index)[0] * 0.02)
    found = gradients(value, tape, D)
    rows = next(gradient for name, gradient in found.items() if name.endswith("/W"))
    assert isinstance(rows, tf.IndexedSlices)
    assert set(rows.indices.numpy()) == set(index)  # a row that was not drawn is not moved
    assert_all_act(found)


def test_the_match_term_moves_e_and_w_only(episode):
    E, G, D, x, y, index = episode
    with tf.GradientTape(persistent=True) as tape:
        value = losses.match(E(x, y), D.rows(index))
    assert_all_act(gradients(value, tape, E))
    assert all(gradient is None for gradient in gradients(value, tape, G).values())
    moved = [name for name, gradient in gradients(value, tape, D).items() if gradient is not None]
    assert [name.split("/")[-1] for name in moved] == ["W"]


def test_the_hinge_moves_nothing_of_e_and_g_when_given_a_finished_picture(episode):
    E, G, D, x, y, index = episode
    x_hat = tf.stop_gradient(G(y, e_hat=E(x, y)))
    with tf.GradientTape(persistent=True) as tape:
        value = losses.discriminator_hinge(D(x, y, index)[0], D(x_hat, y, index)[0])
    for network in (E, G):
        assert all(gradient is None for gradient in gradients(value, tape, network).values())


def test_score_is_v_times_row_plus_shared_vector_plus_bias(episode):
    _, _, D, x, y, index = episode
    D.b.assign(0.25)
    score, activations = D(x, y, index)
    v, of_v = D.V(x, y)
    expected = (v.numpy() * (D.W.numpy()[index] + D.w_0.numpy())).sum(-1) + 0.25
    np.testing.assert_allclose(score, expected, rtol=1e-4, atol=1e-4)
    assert len(activations) == len(of_v) == len(preset("tiny").model.embedder_channels) + 1
    for ours, theirs in zip(activations, of_v, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_allclose(v, np.maximum(of_v[-1], 0).sum((1, 2)), rtol=1e-5)


def test_personal_discriminator_scores_like_a_row_that_equals_e_new(episode):
    """w' = w_0 + e_NEW (Sec. 3.3): the same as a training video whose W_i is e_NEW; V is a copy."""
    _, _, D, x, y, _ = episode
    e_new = np.linspace(-1, 1, 16).astype(np.float32)
    D.W.assign(tf.tensor_scatter_nd_update(D.W.value, [[2]], [e_new]))
    personal = PersonalDiscriminator.from_parts(D.config, D.V, D.w_0, D.b, e_new)
    score, activations = personal(x, y)
    expected, expected_activations = D(x, y, np.full(4, 2))
    np.testing.assert_allclose(score, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(activations[-1], expected_activations[-1], atol=1e-5)
    np.testing.assert_allclose(personal.w, D.w_0.numpy() + e_new, atol=1e-6)
    assert not {id(w) for w in personal.weights} & {id(w) for w in D.weights}
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(personal(x, y)[0])
    assert_all_act(gradients(value, tape, personal))


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_folded_generator_is_the_same_function_without_sigma_and_p(tiny, policy):
    G = with_attention(made(Generator, tiny.model, dtype=policy))
    for number, weight in enumerate(G.trainable_weights):  # nothing may be left at what it began with
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


def calls(config):
    """(network, its call's arguments) for every network of the project."""
    x, y = pictures(2, config.image_size)
    e, psi = embeddings(2, config.embedding_size), embeddings(2, adain_size(config)) * 0.5
    return {
        "embedder": (Embedder, (), (x, y)),
        "generator": (Generator, (), (y, psi)),
        "folded": (FoldedGenerator, (), (y, psi)),
        "v": (RealismNetwork, (), (x, y)),
        "discriminator": (Discriminator, (3,), (x, y, np.array([2, 0]))),
        "personal": (PersonalDiscriminator, (), (x, y)),
    }


@pytest.mark.parametrize("name", ["embedder", "generator", "folded", "v", "discriminator", "personal"])
def test_networks_survive_a_keras_file(tiny, tmp_path, name):
    kind, arguments, inputs = calls(tiny.model)[name]
    network = with_attention(made(kind, tiny.model, *arguments))
    for number, weight in enumerate(network.weights):
        weight.assign_add(0.05 * np.random.default_rng(number).normal(size=weight.shape))
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    assert loaded.get_config() == network.get_config()
    for ours, theirs in zip(tf.nest.flatten(network(*inputs)), tf.nest.flatten(loaded(*inputs)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", ["embedder", "generator", "folded", "v", "discriminator", "personal"])
def test_mixed_bfloat16_computes_in_bfloat16_between_float32_ends(tiny, name):
    kind, arguments, inputs = calls(tiny.model)[name]
    exact, mixed = (with_attention(made(kind, tiny.model, *arguments, dtype=d)) for d in ("float32", "mixed_bfloat16"))
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
        for ours, theirs in zip(tf.nest.flatten(graph(*inputs)), tf.nest.flatten(network(*inputs)), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_attention_can_be_left_out():
    config = replace(preset("tiny"), {"model.attention_down_size": 0, "model.attention_up_size": 0}).model
    for kind in (Embedder, Generator):
        assert not [layer for layer in made(kind, config)._flatten_layers() if isinstance(layer, SelfAttention)]


X, Y = pictures(2, 32)


@pytest.mark.parametrize(
    ("name", "inputs", "said"),
    [
        ("embedder", (X[:, :16], Y), r"x: expected floats \[B, 32, 32, 3\] in \[-1, 1\], got shape \(2, 16, 32, 3\)"),
        ("embedder", (X[0], Y), "x: expected .* got shape"),
        ("embedder", (X, Y[..., :1]), r"y: expected .* got shape \(2, 32, 32, 1\)"),
        ("embedder", (X * 127.5 + 127.5, Y), r"x: expected .* got values from .* to 25"),
        ("embedder", ((X * 100).astype(np.uint8), Y), "x: expected .* got uint8 values"),
        ("embedder", (X, Y * 255), r"y: expected .* in \[0, 1\], got values"),
        ("embedder", (X * np.nan, Y), "x: expected .* got NaN or infinity"),
        ("generator", (Y, np.zeros((2, 7), np.float32)), r"psi_hat: expected floats \[B, 192\], got shape \(2, 7\)"),
        ("generator", (X, np.zeros((2, 192), np.float32)), "y: expected"),
        ("generator", (Y, np.full((2, 192), np.inf, np.float32)), "psi_hat: .* got NaN or infinity"),
        ("generator", (Y,), "either psi_hat .* or e_hat"),
        ("generator", (Y, np.zeros((2, 192), np.float32), np.zeros((2, 16), np.float32)), "either psi_hat .* or e_hat"),
        ("folded", (Y, np.zeros((2, 191), np.float32)), "psi_hat: expected"),
        ("discriminator", (X, Y, np.array([0, 3])), "index: expected 0 to 2, got 0 to 3"),
        ("discriminator", (X, Y, np.array([-1, 0])), "index: expected 0 to 2"),
        ("discriminator", (X, Y, np.array([0.0, 1.0])), r"index: expected integers \[B\], got float64"),
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
        PersonalDiscriminator.from_parts(tiny.model, V, np.zeros(16, np.float32), 0.0, np.zeros(8, np.float32))


def test_shapes_are_refused_while_a_graph_is_traced(tiny):
    E = made(Embedder, tiny.model)
    with pytest.raises(InputError, match="x: expected"):
        tf.function(lambda x, y: E(x, y)).get_concrete_function(tf.TensorSpec([None, 31, 32, 3]), tf.TensorSpec([None, 32, 32, 3]))
