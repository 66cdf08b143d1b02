"""Frozen networks of the content loss, which compares their activations for two images.

All networks take RGB images [B, H, W, 3] float32 in 0..255 and do their own preprocessing.
`activations(images)` returns the list to compare. Gradients reach the images, not the weights.

- `vgg19`, `vggface`: the paper's. Both are Caffe networks: BGR, 0..255, mean subtracted (a common
  reproduction error is to feed them RGB in 0..1). Their weights are not part of this project.
- `face_network`: dlib's face-recognition ResNet (`dlib_face.py`), installed by the requirements.
"""

import os

import h5py
import keras
import numpy as np
import tensorflow as tf

from tf_talkinghead.errors import InputError
from tf_talkinghead.models.checks import checked
from tf_talkinghead.models.dlib_face import face_network as face_network
from tf_talkinghead.models.layers import PACKAGE

# Convolutions per block. Of the last block only the first one is used and built.
VGG19_BLOCKS = (2, 2, 4, 4, 4)
VGGFACE_BLOCKS = (2, 2, 3, 3, 3)  # VGG16
_CHANNELS = (64, 128, 256, 512, 512)
_VGG19_MEAN = (123.68, 116.779, 103.939)  # ImageNet, RGB
_VGGFACE_MEAN = (129.1863, 104.7624, 93.5940)  # the VGGFace release's averageImage, RGB


class MissingWeightsError(InputError):
    """A weight file is missing or has the wrong content."""


@keras.saving.register_keras_serializable(PACKAGE)
class CaffeVGG(keras.Model):
    """A VGG from conv1_1 to conv5_1 with Caffe preprocessing.

    Args:
      blocks: convolutions in each of the five blocks (only the first of the last block is built).
      mean: RGB mean to subtract, in 0..255.
      image_size: size in pixels that callers resize faces to (the network itself takes any size).
    """

    def __init__(self, blocks, mean, image_size=224, trainable=False, **kwargs):
        super().__init__(trainable=trainable, **kwargs)
        self.blocks, self.mean, self.image_size = tuple(blocks), tuple(mean), image_size
        self.convolutions = [
            keras.layers.Conv2D(
                _CHANNELS[int(name[4]) - 1],
                3,
                padding="same",
                activation="relu",
                dtype=self.dtype_policy,
                name=name,
            )
            for name in _layers(self.blocks)
        ]

    def build(self, input_shape=None):
        inputs = 3
        for convolution in self.convolutions:
            convolution.build((None, None, None, inputs))
            inputs = convolution.filters

    def build_from_config(self, config):
        self.build()

    def call(self, images):
        return self.activations(images)

    def activations(self, images):
        """Activations [B, h, w, c] of the five conv*_1 after ReLU; images RGB in 0..255."""
        images = checked("images", images, (None, None, 3), 0, 255)
        h = (images - tf.constant(self.mean))[..., ::-1]  # RGB to BGR, as in Caffe
        result = []
        for convolution in self.convolutions:
            if convolution.name.endswith("_1") and result:
                h = tf.nn.max_pool2d(h, 2, 2, "VALID")
            h = convolution(h)
            if convolution.name.endswith("_1"):
                result.append(h)
        return result

    def get_config(self):
        own = {"blocks": self.blocks, "mean": self.mean, "image_size": self.image_size}
        return {**super().get_config(), **own}


def vgg19(weights_file=None):
    """VGG19 with the Caffe weights.

    Args:
      weights_file: see `load_caffe`; by default Keras's own file, cached or downloaded.

    Raises:
      MissingWeightsError: the file is missing or malformed, or the download fails.
    """
    network = CaffeVGG(VGG19_BLOCKS, _VGG19_MEAN, name="vgg19")
    network.build()
    load_caffe(network, weights_file or _keras_vgg19_file())
    return network


def vggface(weights_file):
    """VGG16 of the VGGFace release (Parkhi et al. 2015).

    Args:
      weights_file: see `load_caffe`.

    Raises:
      MissingWeightsError: the file is missing or malformed.
    """
    network = CaffeVGG(VGGFACE_BLOCKS, _VGGFACE_MEAN, name="vggface")
    network.build()
    load_caffe(network, weights_file)
    return network


def check_file(name, path):
    """Checks that a weight file exists, without loading it.

    Args:
      name: "vgg19" or "vggface".
      path: its weight file; an empty one for "vgg19" means Keras's own, which is not checked here.

    Raises:
      MissingWeightsError: there is no such file; the message names the flag.
    """
    if not os.path.isfile(path or "") and (path or name != "vgg19"):
        blocks = {"vgg19": VGG19_BLOCKS, "vggface": VGGFACE_BLOCKS}[name]
        raise MissingWeightsError(
            f"{name} weights: no file at {path or '(no path given)'}{_layout(name, blocks)}"
        )


def load_caffe(network, path):
    """Loads the convolutions of a CaffeVGG from a weight file.

    Layout: HDF5 (.h5, .hdf5) or .npz. For each convolution a kernel [3, 3, in, out] and a bias
    [out], the first layer's input channels in BGR order. HDF5: a group per layer, anywhere in the
    file, named `conv1_1` or `block1_conv1`, with one 4-D and one 1-D dataset below it. npz: arrays
    `conv1_1/kernel` and `conv1_1/bias`.

    Args:
      network: the CaffeVGG.
      path: the weight file.

    Raises:
      MissingWeightsError: the file is missing or malformed; the message names file, flag and
        layout.
    """
    check_file(network.name, path)
    layout = _layout(network.name, network.blocks)
    try:
        arrays = _npz_arrays(path) if str(path).endswith(".npz") else _hdf5_arrays(path)
    except (OSError, ValueError) as error:
        raise MissingWeightsError(
            f"{network.name} weights: {path} cannot be read ({error}){layout}"
        ) from error
    for layer in network.convolutions:
        found = {tuple(a.shape): a for a in arrays.get(layer.name, [])}
        wanted = [tuple(weight.shape) for weight in layer.weights]
        if not all(shape in found for shape in wanted):
            raise MissingWeightsError(
                f"{network.name} weights: {path} has {sorted(found) or 'nothing'} for {layer.name},"
                f" expected {wanted}{layout}"
            )
        layer.set_weights([found[shape] for shape in wanted])


def _layout(name, blocks):
    """Text on the required layout of a weight file and its flag, for error messages."""
    return (
        f"; expected an HDF5 or npz file with, for each of {', '.join(_layers(blocks))} (or"
        " block1_conv1 and so on), a kernel [3, 3, in, out] and a bias [out], first layer in BGR"
        f" order; name it with --{name}_weights (of meta_train, personalize and evaluate;"
        f" losses.{name}_weights)"
    )


def _layers(blocks):
    """Names of the convolutions of a VGG from conv1_1 to conv5_1."""
    counts = (*blocks[:4], 1)
    return [
        f"conv{block}_{i}" for block, count in enumerate(counts, 1) for i in range(1, count + 1)
    ]


def _npz_arrays(path):
    arrays = {}
    with np.load(path, allow_pickle=False) as file:
        for name in file.files:
            arrays.setdefault(_caffe_name(name.split("/")), []).append(file[name])
    return arrays


def _hdf5_arrays(path):
    arrays = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            arrays.setdefault(_caffe_name(name.split("/")), []).append(np.asarray(item))

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return arrays


def _caffe_name(parts):
    """The Caffe name, such as `conv3_1`, from the parts of a stored name of either form."""
    for part in parts:
        if part.startswith("block") and "_conv" in part:
            block, convolution = part.removeprefix("block").split("_conv", 1)
            return f"conv{block}_{convolution.split('_')[0]}"
        if part.startswith("conv"):
            return part
    return ""


def _keras_vgg19_file():
    """Path of Keras's VGG19 file, downloaded if absent; MissingWeightsError if that fails."""
    try:
        return keras.utils.get_file(
            "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "https://storage.googleapis.com/tensorflow/keras-applications/vgg19/"
            "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
            cache_subdir="models",
            file_hash="253f8cb515780f3b799900260a226db6",
        )
    except Exception as error:  # get_file raises a bare Exception when the download fails
        name = "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
        raise MissingWeightsError(
            f"vgg19 weights: {name} is neither in Keras's cache (~/.keras/models) nor can it be"
            f" downloaded ({error}); put the file there or name it with --vgg19_weights (of"
            " meta_train, personalize and evaluate; losses.vgg19_weights). Training with"
            " --perceptual=dlib needs no file"
        ) from error
