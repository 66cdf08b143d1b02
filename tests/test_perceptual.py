"""VGG19 and VGGFace: Caffe's preprocessing, the right activations, and files read or refused by
name.
"""

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_talkinghead.models import perceptual
from tf_talkinghead.models.perceptual import (
    VGG19_BLOCKS,
    VGGFACE_BLOCKS,
    CaffeVGG,
    MissingWeightsError,
)

NARROW = (4, 4, 8, 8, 8)


@pytest.fixture
def narrow(monkeypatch):
    """VGGs of few channels: their files are small, everything else is the same."""
    monkeypatch.setattr(perceptual, "_CHANNELS", NARROW)


def random_weights(blocks, seed=0):
    """name -> (kernel, bias) of conv1_1 ... conv5_1."""
    random, inputs, weights = np.random.default_rng(seed), 3, {}
    for block, channels in enumerate(NARROW):
        for i in range(blocks[block] if block < 4 else 1):
            kernel = random.normal(size=(3, 3, inputs, channels)).astype(np.float32) * 0.2
            weights[f"conv{block + 1}_{i + 1}"] = (
                kernel,
                random.normal(size=channels).astype(np.float32),
            )
            inputs = channels
    return weights


def write_npz(path, weights):
    np.savez(
        path,
        **{
            f"{name}/{kind}": array
            for name, pair in weights.items()
            for kind, array in zip(("kernel", "bias"), pair)
        },
    )


def write_keras_h5(path, weights):
    """The layout of keras.applications' files: block1_conv1/block1_conv1_W_1:0 and _b_1:0."""
    with h5py.File(path, "w") as file:
        for name, (kernel, bias) in weights.items():
            block, i = name.removeprefix("conv").split("_")
            group = file.create_group(f"block{block}_conv{i}")
            group[f"block{block}_conv{i}_W_1:0"], group[f"block{block}_conv{i}_b_1:0"] = (
                kernel,
                bias,
            )


def write_nested_h5(path, weights):
    """The layout of Keras's own save_weights: layers/<name>/<name>/kernel:0."""
    with h5py.File(path, "w") as file:
        for name, (kernel, bias) in weights.items():
            group = file.create_group(f"model_weights/{name}/{name}")
            group["kernel:0"], group["bias:0"] = kernel, bias
        file.create_group("model_weights/fc6/fc6")["kernel:0"] = np.zeros((2, 2), np.float32)


def by_hand(weights, blocks, mean, images):
    """Activations after ReLU of conv*_1, from the definition."""
    h, found = (images - mean)[..., ::-1], []
    for block in range(5):
        if block:
            h = h.reshape(len(h), h.shape[1] // 2, 2, h.shape[2] // 2, 2, -1).max((2, 4))
        for i in range(blocks[block] if block < 4 else 1):
            kernel, bias = weights[f"conv{block + 1}_{i + 1}"]
            padded = np.pad(h, ((0, 0), (1, 1), (1, 1), (0, 0)))
            size = h.shape[1]
            h = (
                sum(
                    padded[:, a : a + size, b : b + size] @ kernel[a, b]
                    for a in range(3)
                    for b in range(3)
                )
                + bias
            )
            h = np.maximum(h, 0)
            if i == 0:
                found.append(h)
    return found


@pytest.mark.parametrize("write", [write_npz, write_keras_h5, write_nested_h5])
@pytest.mark.parametrize(("load", "blocks"), [("vgg19", VGG19_BLOCKS), ("vggface", VGGFACE_BLOCKS)])
def test_files_are_read_and_activations_are_caffes(narrow, tmp_path, write, load, blocks):
    weights, path = (
        random_weights(blocks),
        tmp_path / ("file.npz" if write is write_npz else "file.h5"),
    )
    write(path, weights)
    network = getattr(perceptual, load)(str(path))
    images = np.random.default_rng(1).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    expected = by_hand(weights, blocks, np.array(network.mean), images)
    for ours, theirs in zip(network.activations(images), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-2 * theirs.max())
    assert not network.trainable_weights


def test_vgg19_is_keras_applications_network():
    """Same weights in both: keras.applications' VGG19 with its own Caffe preprocessing gives the
    same numbers.
    """
    theirs = keras.applications.VGG19(weights=None, include_top=False, input_shape=(32, 32, 3))
    ours = CaffeVGG(VGG19_BLOCKS, perceptual._VGG19_MEAN)
    ours.build()
    names = {f"block{n[4]}_conv{n[6]}": n for n in (layer.name for layer in ours.convolutions)}
    for layer in ours.convolutions:
        block, i = layer.name.removeprefix("conv").split("_")
        layer.set_weights(theirs.get_layer(f"block{block}_conv{i}").get_weights())
    outputs = [theirs.get_layer(f"block{block}_conv1").output for block in range(1, 6)]
    images = np.random.default_rng(1).uniform(0, 255, (1, 32, 32, 3)).astype(np.float32)
    expected = keras.Model(theirs.input, outputs)(
        keras.applications.vgg19.preprocess_input(images.copy())
    )
    assert len(names) == 13
    for mine, other in zip(ours.activations(images), expected, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-4 * float(tf.reduce_max(other)))


def test_full_networks_have_the_published_shapes():
    for blocks, count in ((VGG19_BLOCKS, 13), (VGGFACE_BLOCKS, 11)):
        network = CaffeVGG(blocks, (0, 0, 0))
        assert len(network.convolutions) == count
        assert [layer.filters for layer in network.convolutions if layer.name.endswith("_1")] == [
            64,
            128,
            256,
            512,
            512,
        ]


@pytest.mark.parametrize("load", ["vgg19", "vggface"])
def test_an_absent_file_is_named_with_option_and_layout(tmp_path, load):
    path = tmp_path / "absent.h5"
    with pytest.raises(MissingWeightsError) as refusal:
        getattr(perceptual, load)(str(path))
    for part in (str(path), f"--{load}_weights", "conv1_1", "conv5_1", "[3, 3, in, out]", "BGR"):
        assert part in str(refusal.value)


def test_no_vggface_file_at_all_is_named():
    with pytest.raises(MissingWeightsError, match="no path given.*--vggface_weights"):
        perceptual.vggface(None)


def test_a_file_without_a_layer_or_of_another_shape_is_refused(narrow, tmp_path):
    weights = random_weights(VGGFACE_BLOCKS)
    del weights["conv3_2"]
    write_npz(tmp_path / "part.npz", weights)
    with pytest.raises(MissingWeightsError, match=r"part\.npz has nothing for conv3_2"):
        perceptual.vggface(str(tmp_path / "part.npz"))
    weights = random_weights(VGGFACE_BLOCKS)
    weights["conv1_1"] = weights["conv1_1"][0][:, :, :2], weights["conv1_1"][1]
    write_npz(tmp_path / "shape.npz", weights)
    with pytest.raises(
        MissingWeightsError,
        match=r"\(3, 3, 2, 4\).* for conv1_1, expected \[\(3, 3, 3, 4\), \(4,\)\]",
    ):
        perceptual.vggface(str(tmp_path / "shape.npz"))
    (tmp_path / "broken.h5").write_bytes(b"not HDF5")
    with pytest.raises(MissingWeightsError, match=r"broken\.h5 cannot be read"):
        perceptual.vggface(str(tmp_path / "broken.h5"))


def test_vgg19_without_cache_or_network_names_both_ways_out(monkeypatch):
    def offline(*arguments, **options):
        raise Exception("URL fetch failure")

    monkeypatch.setattr(keras.utils, "get_file", offline)
    with pytest.raises(
        MissingWeightsError, match=r"vgg19_weights_tf_dim.*--vgg19_weights.*--perceptual=dlib"
    ):
        perceptual.vgg19()
