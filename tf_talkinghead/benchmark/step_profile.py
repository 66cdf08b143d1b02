"""Profile of a training update: operation times, by part of the step and by kind of operation.

The times are those of single operations in TensorFlow's profiler. The parts are the name scopes of
training/train_step.py, forward and backward separately; the rest is the input pipeline. Operations
run concurrently, so their times add up to more than the update takes: a part's seconds are its
share of that sum times the update's wall time. CPU only: on a GPU the profile holds kernel launch
times.
"""

import collections
import glob
import re
import tempfile
import time

import tensorflow as tf

# Name scope -> part; the first scope that occurs in an operation's name applies.
PARTS = {
    "drawing": "drawing",
    "spectral_norm": "spectral_norm",
    "optimizer": "optimizer",
    "averages": "averages",
    "content": "content",
    "scoring": "discriminator_for_generator",
    "discriminator_step": "discriminator_update",
    "embedder": "embedder",
    "generator_step": "generator",
}
# Kind -> TensorFlow operation types, without the prefixes of oneDNN and fused forms.
KINDS = {
    "convolution_input_gradient": r"Conv2DBackpropInput",
    "convolution_filter_gradient": r"Conv2DBackpropFilter",
    "convolution": r"(Conv2D|DepthwiseConv)",
    "matrix_product": r"(Batch)?MatMul",
    "resize_and_pool": r"(AvgPool|MaxPool|Resize|CropAndResize)",
    "reduction": r"(Sum|Mean|Max|Min|Prod|All|Any|BiasAddGrad|L2Loss|ArgMax|UnsortedSegment)"
    r"(V\d)?$",
    "elementwise": r"(Add|Sub|Mul|RealDiv|DivNoNan|Div|Relu|LeakyRelu|Tanh|Sigmoid|Rsqrt|Sqrt"
    r"|Square|Neg|Abs|Sign|Select|Cast|Maximum|Minimum|BiasAdd|Exp|Pow|Softmax|Greater|Less|Equal"
    r"|NotEqual|Logical|IsFinite|Reciprocal|Floor|Round|Clip|BatchNorm)",
    "copy": r"(Tile|Concat|Slice|StridedSlice|Transpose|Pad|MirrorPad|Gather|Reshape|Split|Pack"
    r"|Unpack|Broadcast|Identity|Fill|Zeros|Ones|ReadVariable|Assign|ExpandDims|Squeeze|Reverse"
    r"|Depth|Space)",
    "optimizer": r"Resource(Apply|Scatter)",
}
BANDWIDTH_BOUND = ("resize_and_pool", "reduction", "elementwise", "copy", "optimizer")
# Excluded: these contain or wait for other operations.
_NOT_WORK = re.compile(
    r"(Stateful|Stateless)?(PartitionedCall|While|If|Case)$"
    r"|MapDefun|RemoteCall|Iterator|_Send|_Recv|_?Arg$|_?Retval$"
)
_EVENT = re.compile(r"(?P<name>[^ :]+):(?P<type>_?[A-Z]\w*)(#.*)?$")


def profile(update, steps, step_seconds):
    """Profiles `steps` calls of `update()`, which takes `step_seconds` unprofiled.

    Returns:
      {figure: value}, {} on a GPU or without a profile: `profile_part_<part>_seconds` and `_share`,
      `profile_kind_<kind>_seconds` and `_share`, each in descending order;
      `profile_bandwidth_bound_share`; `profile_operations_at_once`, the mean number of concurrent
      operations.
    """
    if tf.config.list_physical_devices("GPU"):
        return {}
    found, wall = operation_times(update, steps)
    times = [
        (part_of(name), kind_of(operation_type), seconds) for name, operation_type, seconds in found
    ]
    total = sum(seconds for _, _, seconds in times)
    if not total:
        return {}
    figures = {"profile_operations_at_once": total / wall}
    for what, column in (("part", 0), ("kind", 1)):
        sums = collections.Counter()
        for row in times:
            sums[row[column]] += row[2]
        for name, seconds in sums.most_common():
            figures[f"profile_{what}_{name}_seconds"] = seconds / total * step_seconds
            figures[f"profile_{what}_{name}_share"] = seconds / total
    figures["profile_bandwidth_bound_share"] = sum(
        figures.get(f"profile_kind_{kind}_share", 0.0) for kind in BANDWIDTH_BOUND
    )
    return figures


def operation_times(call, steps):
    """Times of the operations that run on the CPU during `steps` calls of `call`.

    Returns:
      [(name, type, seconds)], one entry per execution, and the calls' wall time in seconds.
    """
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(
            folder,
            tf.profiler.experimental.ProfilerOptions(host_tracer_level=2, python_tracer_level=0),
        )
        start = time.perf_counter()
        for _ in range(steps):
            call()
        wall = time.perf_counter() - start
        tf.profiler.experimental.stop()
        space = xplane_pb2.XSpace()
        for path in glob.glob(f"{folder}/**/*.xplane.pb", recursive=True):
            with open(path, "rb") as file:
                space.MergeFromString(file.read())
    found = []
    for plane in space.planes:
        for line in plane.lines if plane.name == "/host:CPU" else ():
            for event in line.events:
                match = _EVENT.match(plane.event_metadata[event.metadata_id].name)
                if match and not _NOT_WORK.match(match["type"]):
                    found.append((match["name"], match["type"], event.duration_ps / 1e12))
    return found, wall


def part_of(name):
    """Part of the training step of the operation `name`; gradients have the suffix `_backward`."""
    for scope, part in PARTS.items():
        if re.search(rf"(^|/){scope}(_\d+)*/", name):
            return f"{part}_backward" if "gradient_tape" in name else part
    return "data"


def kind_of(operation_type):
    """Kind of an operation type, for example convolution for `_MklNativeFusedConv2D`."""
    plain = re.sub(r"^_?(MklNative|Mkl|OneDnn)?(Fused)?", "", operation_type)
    return next((kind for kind, types in KINDS.items() if re.match(types, plain)), "other")


def convolutions(figures, flop, rate):
    """Operation rates of the convolutions in a profile.

    Args:
      figures: the result of `profile`.
      flop: {kind: operations of an update}.
      rate: the machine's matrix-product rate, GFLOP per second.

    Returns:
      {figure: value}, {} where the profile has no convolutions.
    """
    kinds = [
        kind
        for kind in flop
        if kind.startswith("convolution") and f"profile_kind_{kind}_seconds" in figures
    ]
    if not kinds:
        return {}
    found = {
        f"profile_kind_{kind}_gflops": flop[kind] / 1e9 / figures[f"profile_kind_{kind}_seconds"]
        for kind in kinds
    }
    seconds = sum(figures[f"profile_kind_{kind}_seconds"] for kind in kinds)
    gflops = sum(flop[kind] for kind in kinds) / 1e9 / seconds
    return {
        **found,
        "profile_convolutions_share": sum(figures[f"profile_kind_{kind}_share"] for kind in kinds),
        "profile_convolutions_gflops": gflops,
        "profile_convolutions_share_of_matmul_rate": gflops / rate,
    }


def table(figures):
    """The parts and kinds of a profile as text lines of a table; [] without a profile."""
    lines = []
    for what in ("part", "kind"):
        names = [
            name[len(f"profile_{what}_") : -len("_share")]
            for name in figures
            if name.startswith(f"profile_{what}_") and name.endswith("_share")
        ]
        if names:
            lines.append(f"{what:37} {'seconds':>9} {'share':>7} {'GFLOP/s':>8}")
        for name in names:
            at = f"profile_{what}_{name}"
            speed = figures.get(f"{at}_gflops")
            rate = "" if speed is None else f"{speed:8.0f}"
            line = f"{name:37} {figures[f'{at}_seconds']:9.4f} {figures[f'{at}_share']:7.1%} {rate}"
            lines.append(line.rstrip())
    return lines
