"""Frozen networks of the content loss, which compares their activations for two images.

All take RGB images [B, H, W, 3] float32 in 0..255 and do their own preprocessing.
`activations(images)` gives the list that is compared. Gradients reach the images, not the weights.

- `vgg19`, `vggface`: the paper's. Both are Caffe networks: BGR, 0..255, mean subtracted (the
  best-known reproduction bug is feeding them RGB in 0..1). Their files are not in this project.
- `face_network`: dlib's face-recognition ResNet (`dlib_face.py`), which the requirements install.
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

VGG19_BLOCKS = (
    2,
    2,
    4,
    4,
    4,
)  # convolutions per block; conv5_2 to 5_4 are not needed and not built
VGGFACE_BLOCKS = (2, 2, 3, 3, 3)  # VGG16
_CHANNELS = (64, 128, 256, 512, 512)
_VGG19_MEAN = (123.68, 116.779, 103.939)  # ImageNet, RGB
_VGGFACE_MEAN = (129.1863, 104.7624, 93.5940)  # the VGGFace release's averageImage, RGB


class MissingWeightsError(InputError):
    """A weight file that is not there or does not hold what it must."""


@keras.saving.register_keras_serializable(PACKAGE)
class CaffeVGG(keras.Model):
    """A VGG from conv1_1 to conv5_1; `activations(images)`: of the five conv*_1, after ReLU.

    Args:
      blocks: convolutions in each of the five blocks (of the last only the first is built).
      mean: RGB mean to subtract.
      image_size: what faces are resized to before it (the network itself takes any size).
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
        """Five activations [B, h, w, c] of images [B, H, W, 3] RGB in 0..255."""
        images = checked("images", images, (None, None, 3), 0, 255)
        h = (images - tf.constant(self.mean))[..., ::-1]  # BGR, as Caffe's
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
    """VGG19 with the Caffe weights, from `weights_file` or from Keras's own, cached or downloaded.

    `load_caffe` describes the file.
    """
    network = CaffeVGG(VGG19_BLOCKS, _VGG19_MEAN, name="vgg19")
    network.build()
    load_caffe(network, weights_file or _keras_vgg19_file())
    return network


def vggface(weights_file):
    """VGG16 of the VGGFace release (Parkhi et al. 2015), from `weights_file` (see `load_caffe`)."""
    network = CaffeVGG(VGGFACE_BLOCKS, _VGGFACE_MEAN, name="vggface")
    network.build()
    load_caffe(network, weights_file)
    return network


def check_file(name, path):
    """MissingWeightsError, naming the flag, unless `path` is a file; loads nothing.

    Args:
      name: "vgg19" or "vggface".
      path: its weight file; for "vgg19" an empty one is Keras's own, which is not looked for here.
    """
    if not os.path.isfile(path or "") and (path or name != "vgg19"):
        blocks = {"vgg19": VGG19_BLOCKS, "vggface": VGGFACE_BLOCKS}[name]
        raise MissingWeightsError(
            f"{name} weights: no file at {path or '(no path given)'}{_layout(name, blocks)}"
        )


def load_caffe(network, path):
    """Read the convolutions of `network` from `path`; MissingWeightsError names file, flag, layout.

    Layout: HDF5 (.h5, .hdf5) or .npz. For each convolution a kernel [3, 3, in, out] and a bias
    [out], the first layer's input channels in BGR order. HDF5: a group per layer, anywhere in the
    file, named `conv1_1` or `block1_conv1`, with one 4-D and one 1-D dataset below it. npz: arrays
    `conv1_1/kernel` and `conv1_1/bias`.
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
                f" not {wanted}{layout}"
            )
        layer.set_weights([found[shape] for shape in wanted])


def _layout(name, blocks):
    """What a weight file must hold and how to name it: the end of every refusal of one."""
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
    """`conv3_1` from the parts of a stored name, whether it says `conv3_1` or `block3_conv1`."""
    for part in parts:
        if part.startswith("block") and "_conv" in part:
            block, convolution = part.removeprefix("block").split("_conv", 1)
            return f"conv{block}_{convolution.split('_')[0]}"
        if part.startswith("conv"):
            return part
    return ""


def _keras_vgg19_file():
    """Path of Keras's VGG19 file, downloaded if absent; MissingWeightsError where that fails."""
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
