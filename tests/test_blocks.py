"""Normalisations, attention and the residual block, against numpy written from their
definitions.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_talkinghead.models.blocks import (
    AdaptiveInstanceNormalization,
    InstanceNormalization,
    ResidualBlock,
    SelfAttention,
)

RANDOM = np.random.default_rng(7)


def normal(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def instance_norm(h, eps=1e-5):
    mean, variance = h.mean((1, 2), keepdims=True), h.var((1, 2), keepdims=True)
    return (h - mean) / np.sqrt(variance + eps)


def conv(layer, h):
    """What a bias-free or biased 1x1 or 3x3 layer does, by shifted matrix products."""
    kernel = layer.normalized_kernel().numpy()
    reach = kernel.shape[0] // 2
    padded = np.pad(h, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    size = h.shape[1]
    out = sum(
        padded[:, i : i + size, j : j + size] @ kernel[i, j]
        for i in range(len(kernel))
        for j in range(len(kernel))
    )
    return out if layer.bias is None else out + layer.bias.numpy()


def halve(h):
    return (h[:, ::2, ::2] + h[:, 1::2, ::2] + h[:, ::2, 1::2] + h[:, 1::2, 1::2]) / 4


def double(h):
    return h.repeat(2, axis=1).repeat(2, axis=2)


def test_instance_norm_against_keras_group_norm():
    h = normal(3, 6, 5, 4) * 3 + 2
    ours, theirs = (
        InstanceNormalization(1e-5),
        keras.layers.GroupNormalization(groups=-1, epsilon=1e-5),
    )
    for layer in (ours, theirs):
        layer.build(h.shape)
    ours.set_weights([np.arange(1.0, 5), np.arange(4.0)])
    theirs.set_weights([np.arange(1.0, 5), np.arange(4.0)])
    np.testing.assert_allclose(ours(h), theirs(h), atol=1e-5)
    np.testing.assert_allclose(
        ours(h), instance_norm(h) * np.arange(1, 5) + np.arange(4), atol=1e-5
    )


def test_instance_norm_of_a_large_offset_loses_nothing():
    """A mean of 1000 beside a deviation of 1: one-pass formulas lose the variance to
    cancellation.
    """
    h = normal(1, 16, 16, 2)
    layer = InstanceNormalization()
    np.testing.assert_allclose(layer(h + 1000), layer(h), atol=1e-3)


def test_adain_is_one_plus_scale_times_instance_norm_plus_shift():
    h, psi = normal(2, 4, 4, 3) * 2 - 1, normal(2, 6)
    expected = (1 + psi[:, None, None, :3]) * instance_norm(h) + psi[:, None, None, 3:]
    layer = AdaptiveInstanceNormalization()
    np.testing.assert_allclose(layer(h, psi), expected, atol=1e-5)
    np.testing.assert_allclose(layer(h, np.zeros_like(psi)), instance_norm(h), atol=1e-5)
    out = layer(h, psi).numpy()  # its statistics are what psi says
    np.testing.assert_allclose(out.mean((1, 2)), psi[:, 3:], atol=1e-5)
    np.testing.assert_allclose(out.std((1, 2)), np.abs(1 + psi[:, :3]), rtol=1e-4)


def test_adain_of_one_row_does_not_touch_another():
    h, psi = normal(2, 4, 4, 3), normal(2, 6)
    layer = AdaptiveInstanceNormalization()
    together = layer(h, psi).numpy()
    for row in range(2):
        np.testing.assert_allclose(
            layer(h[row : row + 1], psi[row : row + 1])[0], together[row], atol=1e-6
        )


def test_attention_is_sagans_with_pooled_keys_and_values():
    h = normal(2, 6, 6, 16)
    layer = SelfAttention()
    np.testing.assert_array_equal(layer(h), h)  # the gain starts at 0
    layer.gain.assign(0.7)

    def pool(t):
        return np.maximum.reduce(
            [t[:, ::2, ::2], t[:, 1::2, ::2], t[:, ::2, 1::2], t[:, 1::2, 1::2]]
        )

    query = conv(layer.query, h).reshape(2, 36, 2)
    key, value = (
        pool(conv(layer.key, h)).reshape(2, 9, 2),
        pool(conv(layer.value, h)).reshape(2, 9, 8),
    )
    energy = np.exp(query @ key.transpose(0, 2, 1))
    attended = (energy / energy.sum(-1, keepdims=True)) @ value
    expected = h + 0.7 * conv(layer.output_convolution, attended.reshape(2, 6, 6, 8))
    np.testing.assert_allclose(layer(h), expected, atol=1e-5)


def by_hand(block, h, psi=None):
    """A ResidualBlock from its definition, resampling the skip before its 1x1 convolution or after,
    as given there.
    """
    splits = [None, None]
    if psi is not None:
        splits = psi[:, : 2 * h.shape[-1]], psi[:, 2 * h.shape[-1] :]

    def normalized(t, norm, part):
        if block.norm == "none":
            return t
        if block.norm == "instance":
            return instance_norm(t) * norm.scale.numpy() + norm.shift.numpy()
        scale, shift = np.split(part[:, None, None], 2, axis=-1)
        return (1 + scale) * instance_norm(t) + shift

    rest = np.maximum(normalized(h, block.norm_1, splits[0]), 0) if block.opening else h
    rest = double(rest) if block.resample == "up" else rest
    rest = conv(block.convolution_1, rest)
    rest = conv(block.convolution_2, np.maximum(normalized(rest, block.norm_2, splits[1]), 0))
    # BigGAN's order: the skip is convolved at the larger size
    skip = double(h) if block.resample == "up" else h
    skip = skip if block.skip is None else conv(block.skip, skip)
    if block.resample == "down":
        return halve(rest) + halve(skip)
    return rest + skip


@pytest.mark.parametrize("resample", ["none", "down", "up"])
@pytest.mark.parametrize(
    ("norm", "opening"),
    [("none", True), ("none", False), ("instance", True), ("instance", False), ("adaptive", True)],
)
def test_residual_block_is_biggans(norm, resample, opening):
    h = normal(2, 4, 4, 3)
    block = ResidualBlock(5, resample, norm, opening)
    block.build((None, 4, 4, 3))
    for weight in block.trainable_weights:
        weight.assign(normal(*weight.shape))
    psi = normal(2, 2 * (3 + 5)) if norm == "adaptive" else None
    out = block(h) if psi is None else block(h, psi)
    np.testing.assert_allclose(out, by_hand(block, h, psi), atol=1e-4)


def test_skip_has_a_convolution_exactly_where_shape_changes():
    for channels, resample, expected in [
        (4, "none", False),
        (5, "none", True),
        (4, "down", True),
        (4, "up", True),
    ]:
        block = ResidualBlock(channels, resample)
        block.build((None, 8, 8, 4))
        assert (block.skip is not None) == expected


@pytest.mark.parametrize(
    ("layer", "inputs"),
    [
        (InstanceNormalization(1e-3), [(2, 4, 4, 3)]),
        (AdaptiveInstanceNormalization(1e-3), [(2, 4, 4, 3), (2, 6)]),
        (SelfAttention(spectral=False, eps=1e-3), [(2, 4, 4, 8)]),
        (ResidualBlock(5, "down", "instance", False, eps=1e-3, norm_eps=1e-3), [(2, 4, 4, 3)]),
        (ResidualBlock(5, "up", "adaptive", spectral=False), [(2, 4, 4, 3), (2, 16)]),
    ],
)
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_layers_can_be_made_again_from_their_config(layer, inputs, policy):
    again = type(layer).from_config({**layer.get_config(), "dtype": policy})
    config = again.get_config()
    assert type(layer).from_config(config).get_config() == config
    tensors = [normal(*shape) for shape in inputs]
    again(*(tf.cast(t, again.compute_dtype) if i == 0 else t for i, t in enumerate(tensors)))
    if policy == "float32":
        layer(*tensors)
        again.set_weights(layer.get_weights())
        np.testing.assert_allclose(again(*tensors), layer(*tensors), atol=1e-6)
