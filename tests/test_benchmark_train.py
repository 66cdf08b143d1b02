"""The training benchmark: figures on preset `tiny`, operations against a count by hand, profile."""

import pytest
import tensorflow as tf

from tf_talkinghead.benchmark import step_profile, train
from tf_talkinghead.benchmark.operations import operations
from tf_talkinghead.models import perceptual


def test_operations_of_a_convolution_and_its_gradients_by_hand():
    @tf.function
    def update(x, kernel):
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            y = tf.reduce_sum(tf.square(tf.nn.conv2d(x, kernel, 1, "SAME")))
        return tape.gradient(y, [x, kernel])

    graph = update.get_concrete_function(
        tf.TensorSpec([2, 4, 4, 3]), tf.TensorSpec([3, 3, 3, 5])
    ).graph
    forward = 2 * (2 * 4 * 4 * 5) * (3 * 3 * 3)
    found = operations(graph, 2, 1)
    assert {kind: count for kind, count in found.items() if kind.startswith("convolution")} == {
        "convolution": forward,
        "convolution_input_gradient": forward,
        "convolution_filter_gradient": forward,
    }
    assert found["matrix_product"] == 0


@pytest.mark.slow
def test_figures_of_tiny():
    found = train.run("tiny", {"steps": "1"})
    assert found["examples_per_second"] > 0 and 0 <= found["data_wait_share"] < 1
    assert 0.01 < found["gflop_per_step"] < 10 and 0 < found["share_of_matmul_rate"] < 2
    assert "synthetic" in found["data"]
    # Every operation is of one part and of one kind.
    for what in ("part", "kind"):
        shares = [
            value
            for name, value in found.items()
            if name.startswith(f"profile_{what}_") and name.endswith("_share")
        ]
        assert sum(shares) == pytest.approx(1) and shares == sorted(shares, reverse=True)
    for part in ("embedder", "generator", "discriminator_update", "discriminator_for_generator"):
        assert found[f"profile_part_{part}_seconds"] > 0
        assert found[f"profile_part_{part}_backward_seconds"] > 0
    # The table of kinds knows most of what runs.
    assert found["profile_kind_other_share"] < 0.15
    seconds = sum(
        value
        for name, value in found.items()
        if name.startswith("profile_kind_convolution") and name.endswith("_seconds")
    )
    assert found["profile_convolutions_share"] == pytest.approx(seconds / found["step_seconds"])
    lines = step_profile.table(found)
    assert len(lines) == 2 + sum(
        name.startswith(("profile_part_", "profile_kind_")) and name.endswith("_share")
        for name in found
    )


def test_parts_and_kinds_by_name():
    def gradient(step, name):
        """The tape's scope, then those of what is derived."""
        return f"{step}/gradient_tape/{step}/{name}"

    cases = {
        "generator_step/embedder_1/down_0/convolution/Conv2D": "embedder",
        # The twelfth of a process, called twice.
        "generator_step/embedder_12_1/down_0_1/Relu": "embedder",
        gradient("generator_step_1", "embedder_1/down_0/Conv2DBackpropFilter"): "embedder_backward",
        "generator_step/block_12_2/convolution/Conv2D": "generator",
        "generator_step/scoring/discriminator_1/V/down_0/add": "discriminator_for_generator",
        gradient("generator_step", "content/conv1_1/Conv2DBackpropInput"): "content_backward",
        gradient("discriminator_step_1", "discriminator/V/Conv2DBackpropFilter"): (
            "discriminator_update_backward"
        ),
        "discriminator_step/drawing/Minimum": "drawing",
        "optimizer_1/ResourceApplyAdam": "optimizer",
        "DecodeJpeg": "data",
    }
    assert {name: step_profile.part_of(name) for name in cases} == cases
    kinds = {
        "_MklNativeFusedConv2D": "convolution",
        "_FusedConv2D": "convolution",
        "_MklNativeConv2DBackpropFilterWithBias": "convolution_filter_gradient",
        "Conv2DBackpropInput": "convolution_input_gradient",
        "_MklBatchMatMulV2": "matrix_product",
        "AvgPoolGrad": "resize_and_pool",
        "Mean": "reduction",
        "AddV2": "elementwise",
        "Maximum": "elementwise",
        "StridedSlice": "copy",
        "ResourceApplyAdam": "optimizer",
        "DecodeJpeg": "other",
    }
    assert {kind: step_profile.kind_of(kind) for kind in kinds} == kinds


def test_speed_of_the_convolutions_by_hand():
    taken = {"convolution": 1.0, "convolution_input_gradient": 2.0}  # of 4 seconds
    figures = {f"profile_kind_{kind}_seconds": seconds for kind, seconds in taken.items()}
    figures.update({f"profile_kind_{kind}_share": seconds / 4 for kind, seconds in taken.items()})
    flop = {
        "convolution": 50e9,
        "convolution_input_gradient": 40e9,
        "convolution_filter_gradient": 0,
        "matrix_product": 7e9,
    }
    found = step_profile.convolutions(figures, flop, rate=60.0)
    assert found["profile_kind_convolution_gflops"] == 50
    assert found["profile_kind_convolution_input_gradient_gflops"] == 20
    assert found["profile_convolutions_share"] == 0.75
    assert found["profile_convolutions_gflops"] == 30
    assert found["profile_convolutions_share_of_matmul_rate"] == 0.5
    assert step_profile.convolutions({}, flop, 60.0) == {}


def test_synthetic_vgg_files_are_what_the_loader_takes(tmp_path):
    changes = train.synthetic_vgg(tmp_path)
    for name, network in (("vgg19", perceptual.vgg19), ("vggface", perceptual.vggface)):
        activations = network(changes[f"losses.{name}_weights"]).activations(
            tf.zeros([1, 32, 32, 3])
        )
        assert [a.shape[1:] for a in activations] == [
            (32, 32, 64),
            (16, 16, 128),
            (8, 8, 256),
            (4, 4, 512),
            (2, 2, 512),
        ]
