"""Which loss moves which weights of E, G and D, and what D's score is made of."""

import numpy as np
import pytest
import tensorflow as tf

from tests.made_networks import made, pictures, with_attention
from tf_talkinghead import losses
from tf_talkinghead.config import preset
from tf_talkinghead.models.discriminator import Discriminator, PersonalDiscriminator
from tf_talkinghead.models.embedder import Embedder
from tf_talkinghead.models.generator import Generator


def gradients(value, tape, network):
    return dict(
        zip(
            [w.path for w in network.trainable_weights],
            tape.gradient(value, network.trainable_weights),
            strict=True,
        )
    )


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
        "feature matching": lambda x_hat: losses.feature_matching(
            D(x, y, index)[1], D(x_hat, y, index)[1]
        ),
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
