"""The training benchmark's figures on preset `tiny`, and its count of operations against one by hand."""

import tensorflow as tf

from tf_talkinghead.benchmark import train


def test_operations_of_a_convolution_and_its_gradients_by_hand():
    @tf.function
    def update(x, kernel):
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            y = tf.reduce_sum(tf.square(tf.nn.conv2d(x, kernel, 1, "SAME")))
        return tape.gradient(y, [x, kernel])

    graph = update.get_concrete_function(tf.TensorSpec([2, 4, 4, 3]), tf.TensorSpec([3, 3, 3, 5])).graph
    forward = 2 * (2 * 4 * 4 * 5) * (3 * 3 * 3)
    assert train.operations(graph, 2, 1) == 3 * forward


def test_figures_of_tiny():
    found = train.run("tiny", {"steps": "1"})
    assert found["examples_per_second"] > 0 and 0 <= found["data_wait_share"] < 1
    assert 0.01 < found["gflop_per_step"] < 10 and 0 < found["share_of_matmul_rate"] < 2
    assert "made up" in found["data"]
