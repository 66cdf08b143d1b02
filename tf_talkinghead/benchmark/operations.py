"""Floating-point operations of a graph's convolutions and matrix products, backward passes
included, by kind.

A multiply-add is two. Elementwise work is not counted: it is not what the machine's matrix rate is
measured by.
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
    """{kind: operations} of `graph`, kinds as in `KINDS`.

    Where the graph leaves the first axis open, it is taken from what the network saw: `batch`
    frames, or `batch` x `shots` where the shape of the context frames' batch is lost; the
    convolutions' own shapes say the rest.
    """
    total = dict.fromkeys(KINDS.values(), 0)
    for operation in graph.get_operations():
        if operation.type.startswith("Conv2D") and operation.type in KINDS:
            total[KINDS[operation.type]] += _convolution(operation, batch, shots)
        elif operation.type in KINDS:
            total[KINDS[operation.type]] += _product(operation, batch)
    return total


def _convolution(operation, batch, shots):
    """Forward and both backward convolutions cost the same: output elements x kernel elements of
    one output channel.
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
