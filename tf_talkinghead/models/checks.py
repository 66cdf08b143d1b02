"""Input validation of the networks.

Errors name the argument, the expected shape and range, and the value received.

Shapes and dtypes are checked whenever they are known, including while a graph is traced; values are
checked in eager calls only.
"""

import numpy as np
import tensorflow as tf

from tf_talkinghead.errors import InputError

_SLACK = 1e-3  # tolerance of bounds: resizing and lossy compression overshoot slightly


def checked(name, tensor, shape, low=None, high=None):
    """Checks a batch and returns it as a float32 tensor.

    Args:
      name: the argument's name, for the message.
      tensor: array or tensor of floats.
      shape: expected sizes after the batch dimension, for example (256, 256, 3); None is any.
      low, high: bounds of its values, or None.

    Raises:
      InputError: a wrong dtype or shape, or values out of range or not finite.
    """
    tensor = tf.convert_to_tensor(tensor)
    expected = f"floats [B, {', '.join('any' if size is None else str(size) for size in shape)}]"
    if low is not None:
        expected += f" in [{low}, {high}]"
    if not tensor.dtype.is_floating:
        raise InputError(f"{name}: expected {expected}, got {tensor.dtype.name} values")
    if tensor.shape.rank is not None and not tensor.shape.is_compatible_with([None, *shape]):
        raise InputError(f"{name}: expected {expected}, got shape {tensor.shape}")
    if tf.executing_eagerly() and tensor.shape.num_elements():
        smallest, largest = float(tf.reduce_min(tensor)), float(tf.reduce_max(tensor))
        if not (np.isfinite(smallest) and np.isfinite(largest)):
            raise InputError(f"{name}: expected {expected}, got NaN or infinity")
        if low is not None and (smallest < low - _SLACK or largest > high + _SLACK):
            raise InputError(
                f"{name}: expected {expected}, got values from {smallest:.4g} to {largest:.4g}"
            )
    return tf.ensure_shape(tf.cast(tensor, tf.float32), [None, *shape])


def checked_image(name, image, size):
    """Checks an image batch [B, size, size, 3] in [-1, 1]; returns it as float32."""
    return checked(name, image, (size, size, 3), -1, 1)


def checked_drawing(name, drawing, size):
    """Checks a batch of landmark drawings [B, size, size, 3] in [0, 1]; returns it as float32."""
    return checked(name, drawing, (size, size, 3), 0, 1)


def checked_index(index, videos):
    """Checks rows of W, integers [B] in 0..videos - 1; returns them as a tensor."""
    index = tf.convert_to_tensor(index)
    if not index.dtype.is_integer or (index.shape.rank is not None and index.shape.rank != 1):
        raise InputError(
            f"index: expected integers [B], got {index.dtype.name} of shape {index.shape}"
        )
    if tf.executing_eagerly() and index.shape.num_elements():
        smallest, largest = int(tf.reduce_min(index)), int(tf.reduce_max(index))
        if smallest < 0 or largest >= videos:
            raise InputError(f"index: expected 0 to {videos - 1}, got {smallest} to {largest}")
    return index
