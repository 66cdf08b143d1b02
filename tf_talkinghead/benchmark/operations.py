"""Floating-point operations of a graph's convolutions and matrix products, by kind.

Backward passes are included. A multiply-add counts as two. Elementwise operations are not counted,
so that the figure compares with the machine's matrix-product rate.
"""

import numpy as np
import tensorflow as tf

KINDS = {
    "Conv2D": "convolution",
    "Conv2DBackpropInput": "convolution_input_gradient",
    "Conv2DBackpropFilter": "convolution_filter_gradient",
    "MatMul": "matrix_product",
    "BatchMatMulV2": "matrix_product",
}


def operations(graph, batch=None, shots=1):
    """Counts the operations of `graph`.

    Args:
      graph: a tf.Graph.
      batch: number of frames, for operations whose first axis the graph leaves open.
      shots: context frames per example; `batch` x `shots` is used where the shape of the batch of
        context frames is lost.

    Returns:
      {kind: number of operations}, kinds as in `KINDS`.
    """
    total = dict.fromkeys(KINDS.values(), 0)
    for operation in graph.get_operations():
        if operation.type.startswith("Conv2D") and operation.type in KINDS:
            total[KINDS[operation.type]] += _convolution(operation, batch, shots)
        elif operation.type in KINDS:
            total[KINDS[operation.type]] += _product(operation, batch)
    return total


def _convolution(operation, batch, shots):
    """Operations: 2 x output elements x kernel elements of one output channel.

    The forward and both backward convolutions cost the same.
    """
    if operation.type == "Conv2D":
        outputs, kernel = operation.outputs[0].shape, operation.inputs[1].shape
    elif operation.type == "Conv2DBackpropInput":
        outputs, kernel = operation.inputs[2].shape, operation.inputs[1].shape
    else:
        outputs, kernel = operation.inputs[2].shape, operation.outputs[0].shape
        if kernel.rank is None or not kernel.is_fully_defined():
            kernel = tf.TensorShape(tf.get_static_value(operation.inputs[1]))
    rows = outputs[0] or batch * (shots if "embedder" in operation.name else 1)
    return 2 * rows * int(np.prod(outputs[1:])) * int(np.prod(kernel[:3]))


def _product(operation, batch):
    transposed = operation.get_attr("transpose_a" if operation.type == "MatMul" else "adj_x")
    inner = operation.inputs[0].shape[-2 if transposed else -1]
    sizes = [size or batch for size in operation.outputs[0].shape]
    return 2 * int(np.prod(sizes)) * (inner or batch)
