"""Gradient accumulation: equal parts of a batch run one after another, their gradients summed.

Keras's own `gradient_accumulation_steps` raises an error under MirroredStrategy. A gradient here is
a tensor, tf.IndexedSlices or None (no gradient); several gradients are a list.
"""

import tensorflow as tf


def split(batch, count):
    """`batch` (name -> tensor [B, ...]) as `count` equal micro-batches, in order."""
    if count == 1:
        return [batch]
    columns = {name: tf.split(value, count) for name, value in batch.items()}
    return [{name: column[i] for name, column in columns.items()} for i in range(count)]


def after(gradients):
    """A context whose operations wait for `gradients`.

    So the memory holds the activations of one micro-batch at a time.
    """
    tensors = tf.nest.flatten(gradients, expand_composites=True)
    return tf.control_dependencies([tensor for tensor in tensors if tensor is not None])


def add_gradients(a, b):
    """The sum of two gradients or lists of them; rows of tf.IndexedSlices are concatenated."""
    if a is None or b is None:
        return b if a is None else a
    if isinstance(a, list):
        return [add_gradients(x, y) for x, y in zip(a, b, strict=True)]
    if isinstance(a, tf.IndexedSlices):
        values, indices = tf.concat([a.values, b.values], 0), tf.concat([a.indices, b.indices], 0)
        return tf.IndexedSlices(values, indices, a.dense_shape)
    return a + b


def mean_terms(parts):
    """The mean of each term over equal parts: a list of {name: scalar} -> {name: scalar}."""
    return {name: tf.add_n([terms[name] for terms in parts]) / len(parts) for name in parts[0]}
