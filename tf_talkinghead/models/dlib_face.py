"""dlib's face-recognition ResNet in Keras: RGB faces to vectors.

    images [B, 150, 150, 3] in 0..255  ->  vectors [B, 128]

The weights are those of the `face_recognition_models` package (5.6 M parameters, public domain),
read directly from dlib's serialised file. The file is a byte stream; each tensor in it is `01 02`,
then four integers (samples, k, rows, columns; one size byte, then that many little-endian bytes),
then raw little-endian float32. A convolution's tensor is its filters [out, in, h, w] followed by
its biases; an affine's is scales, then shifts.
"""

import functools
import importlib.util
import pathlib

import keras
import numpy as np
import tensorflow as tf

from tf_talkinghead.errors import InputError
from tf_talkinghead.models.checks import checked
from tf_talkinghead.models.layers import PACKAGE

IMAGE_SIZE = 150
_FILE = "dlib_face_recognition_resnet_model_v1.dat"
_MEAN = (122.782, 117.001, 104.298)  # RGB
_SCALE = 256.0
# (output channels, stride) of each residual block.
_BLOCKS = (
    [(32, 1)] * 3
    + [(64, 2)]
    + [(64, 1)] * 3
    + [(128, 2)]
    + [(128, 1)] * 2
    + [(256, 2)]
    + [(256, 1)] * 2
    + [(256, 2)]
)
_VECTOR = 128


@keras.saving.register_keras_serializable(PACKAGE)
class FaceNetwork(keras.Model):
    """Face embedding network: `network(images)` -> vectors [B, 128].

    `network.activations(images)` returns the activations that the face loss compares. Images are
    RGB [B, 150, 150, 3] in 0..255. Vectors of the same person have a distance below 0.6 (dlib's
    threshold). Each affine layer of the file is folded into the preceding convolution.
    """

    image_size = IMAGE_SIZE

    def __init__(self, trainable=False, **kwargs):
        super().__init__(trainable=trainable, **kwargs)

    def build(self, input_shape=None):
        self.opening = self._convolution(3, 32, 7, 2, "opening")
        self.blocks, inputs = [], 32
        for number, (channels, stride) in enumerate(_BLOCKS):
            first = self._convolution(inputs, channels, 3, stride, f"block_{number}_1")
            self.blocks.append(
                [first, self._convolution(channels, channels, 3, 1, f"block_{number}_2")]
            )
            inputs = channels
        self.matrix = self.add_weight(name="matrix", shape=(inputs, _VECTOR), trainable=False)

    def build_from_config(self, config):
        self.build()

    def _convolution(self, inputs, channels, size, stride, name):
        padding = "same" if stride == 1 else "valid"  # strided layers have no padding
        layer = keras.layers.Conv2D(
            channels, size, stride, padding, dtype=self.dtype_policy, name=name
        )
        layer.build((None, None, None, inputs))
        return layer

    def call(self, images):
        pooled = tf.reduce_mean(self._activations(images)[-1], axis=[1, 2])
        return tf.matmul(tf.cast(pooled, tf.float32), tf.convert_to_tensor(self.matrix))

    def activations(self, images):
        """Four activations, the last of each spatial size.

        Their shapes are [B, 35, 35, 32], [B, 17, 17, 64], [B, 8, 8, 128] and [B, 4, 4, 256].
        """
        stages = self._activations(images)
        return [stages[i] for i, (_, stride) in enumerate(_BLOCKS[1:]) if stride == 2]

    def _activations(self, images):
        """Activations after each block; images [B, 150, 150, 3] in 0..255."""
        images = checked("images", images, (IMAGE_SIZE, IMAGE_SIZE, 3), 0, 255)
        h = (images - tf.constant(_MEAN)) / _SCALE
        h = tf.nn.max_pool2d(tf.nn.relu(self.opening(h)), 3, 2, "VALID")
        result = []
        for (channels, stride), (first, second) in zip(_BLOCKS, self.blocks, strict=True):
            rest = second(tf.nn.relu(first(h)))
            if stride == 2:
                h = tf.nn.avg_pool2d(h, 2, 2, "VALID")
            h = tf.nn.relu(sum(_padded([rest, h], channels)))
            result.append(h)
        return result


def _padded(tensors, channels):
    """Zero-pads tensors [B, h, w, c] at the end of each axis to their largest size."""
    height, width = (max(tensor.shape[axis] for tensor in tensors) for axis in (1, 2))
    sizes = [(height - t.shape[1], width - t.shape[2], channels - t.shape[3]) for t in tensors]
    return [
        tf.pad(tensor, [[0, 0], *([0, amount] for amount in size)]) if any(size) else tensor
        for tensor, size in zip(tensors, sizes, strict=True)
    ]


@functools.cache
def face_network():
    """The FaceNetwork with dlib's weights, built once per process."""
    network = FaceNetwork(name="face_network", dtype="float32")
    network.build()
    with tf.init_scope():
        _load(network, weights_path())
    return network


def weights_path():
    """Path of dlib's file in the `face_recognition_models` package.

    Raises:
      InputError: the package is not installed.
    """
    # Importing the package would need pkg_resources.
    spec = importlib.util.find_spec("face_recognition_models")
    path = pathlib.Path(spec.origin).parent / "models" / _FILE if spec else None
    if path is None or not path.is_file():
        raise InputError(
            f"{_FILE}: not found; install the package face_recognition_models (requirements.txt)"
        )
    return path


def _load(network, path):
    """Loads dlib's file at `path` into `network`; InputError if it is another network's file."""
    tensors = TensorReader(path)
    for layer in [network.opening] + [layer for block in network.blocks for layer in block]:
        height, width, inputs, outputs = layer.kernel.shape
        filters, biases = np.split(
            tensors.next(height * width * inputs * outputs + outputs), [-outputs]
        )
        scales, shifts = np.split(tensors.next(2 * outputs), 2)
        kernel = filters.reshape(outputs, inputs, height, width).transpose(2, 3, 1, 0)
        layer.set_weights([kernel * scales, biases * scales + shifts])
    network.matrix.assign(
        tensors.next(int(np.prod(network.matrix.shape))).reshape(network.matrix.shape)
    )


class TensorReader:
    """Reads the tensors of a serialised dlib network in file order, by their number of elements.

    Between the tensors the file holds the layers' settings in the same encoding; a tensor is
    recognised by its expected number of elements.
    """

    def __init__(self, path):
        self._path = path
        self._data = path.read_bytes()
        self._position = 0

    def next(self, count):
        """The next tensor of `count` elements, float32 [count]; InputError if there is none."""
        while (start := self._data.find(b"\x01\x02", self._position)) >= 0:
            self._position = start + 1
            sizes, values = self._integers(start + 2, 4)
            if int(np.prod(sizes, dtype=object)) == count and values + 4 * count <= len(self._data):
                self._position = values + 4 * count
                return np.frombuffer(self._data, "<f4", count, values)
        raise InputError(
            f"{self._path}: not dlib's face-recognition network (expected a tensor of {count} "
            "numbers, found none); reinstall the package face_recognition_models"
        )

    def _integers(self, position, count):
        """The `count` integers stored at `position`, and the position after them."""
        result = []
        for _ in range(count):
            length = self._data[position] if position < len(self._data) else 0
            if not 1 <= length <= 8:
                return [0], position
            result.append(
                int.from_bytes(self._data[position + 1 : position + 1 + length], "little")
            )
            position += 1 + length
        return result, position
