"""Conversion of PredictRequests to validated arrays, and of arrays to PredictResponses.

The checks, their order, status codes and messages are TensorFlow Serving's. Sizes are checked
before memory is allocated: a tensor of ten bytes may claim a shape of a terabyte.
"""

import dataclasses
import math

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from serving.servables import DEFAULT_SIGNATURE
from serving.status import failed_precondition, invalid_argument

MAX_ROWS = 1024  # rows of one request, whatever the model; the client sends at most a few dozen

# Dtype of an avatar input -> field of a TensorProto with its values, and their dtype in memory.
_VALUE_FIELDS = {
    tf.float32: ("float_val", np.float32),
    tf.float16: ("half_val", np.uint16),
    tf.int32: ("int_val", np.int32),
}


@dataclasses.dataclass
class Call:
    """A validated Predict call: inputs (alias -> array) and the requested output aliases."""

    signature_name: str
    inputs: dict
    outputs: tuple


def model_name_of(request):
    """The request's model name; raises INVALID_ARGUMENT if it has none."""
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    if not request.model_spec.name:
        raise invalid_argument("ModelSpec has no name specified.")
    return request.model_spec.name


def parse(servable, request, max_rows=MAX_ROWS):
    """Validates a PredictRequest.

    Args:
      request: the PredictRequest.
      servable: the Servable that it is for.
      max_rows: largest allowed batch size.

    Returns:
      The Call.

    Raises:
      StatusError: as TensorFlow Serving.
    """
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature = servable.signatures.get(name)
    if signature is None:
        raise failed_precondition(f'Serving signature key "{name}" not found.')
    _check_aliases(signature, request)
    inputs = {}
    for alias, spec in signature.inputs.items():
        inputs[alias] = _array(alias, spec, request.inputs[alias], max_rows)
    if len({len(value) for value in inputs.values()}) > 1:
        sizes = ", ".join(f"{alias}: {len(value)}" for alias, value in inputs.items())
        raise invalid_argument(
            f"Batching Run() input tensors must have equal 0th-dimension size ({sizes})"
        )
    return Call(name, inputs, _outputs(signature, request))


def _check_aliases(signature, request):
    sent, expected = set(request.inputs), set(signature.inputs)
    if sent == expected:
        return

    def listed(names):
        return "{" + ",".join(sorted(names)) + "}"

    raise invalid_argument(
        f"input size does not match signature: {len(sent)}!={len(expected)} "
        f"len({listed(sent)}) != len({listed(expected)}). Sent extra: {listed(sent - expected)}. "
        f"Missing but required: {listed(expected - sent)}."
    )


def _outputs(signature, request):
    wanted = tuple(request.output_filter)
    for position, alias in enumerate(wanted):
        if alias not in signature.outputs:
            known = ",".join(signature.outputs)
            raise invalid_argument(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in "
                f"the set {{{known}}}."
            )
        if alias in wanted[:position]:
            raise invalid_argument(f"duplicate output tensor alias: {alias}")
    return wanted or tuple(signature.outputs)


def _array(alias, spec, proto, max_rows):
    """Converts a tensor proto to an array; its dtype and shape must match the signature."""
    try:
        dtype = tf.as_dtype(proto.dtype)
    except TypeError:
        raise invalid_argument(f"tensor parsing error: {alias}") from None
    if dtype != spec.dtype:
        raise invalid_argument(f"{alias}: expects {spec.dtype.name} but {dtype.name} is provided")
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise invalid_argument(f"tensor parsing error: {alias}")
    _check_shape(alias, spec, shape, max_rows)
    try:
        return _values(proto, dtype, math.prod(shape)).reshape(shape)
    except (ValueError, TypeError, KeyError, OverflowError):
        raise invalid_argument(f"tensor parsing error: {alias}") from None


def _values(proto, dtype, count):
    """The `count` numbers of a tensor proto, flat, as the C++ runtime reads them.

    Raw content is not cut: if it does not fit exactly, reshaping fails. If too many values are
    listed, the surplus is ignored; if too few, the last one is repeated; without any, all are 0.
    """
    if proto.tensor_content:
        return np.frombuffer(proto.tensor_content, dtype.as_numpy_dtype)
    field, stored = _VALUE_FIELDS[dtype]
    values = np.array(getattr(proto, field)[:count], stored).view(dtype.as_numpy_dtype)
    if not len(values):
        return np.zeros(count, dtype.as_numpy_dtype)
    return np.concatenate([values, np.repeat(values[-1:], count - len(values))])


def _check_shape(alias, spec, shape, max_rows):
    expected = spec.shape
    if expected is None:
        if not shape:
            raise invalid_argument("Batching Run() input tensors must have at least one dimension")
    elif len(shape) != len(expected) or any(
        want not in (None, got) for want, got in zip(expected, shape)
    ):
        want = ",".join("?" if size is None else str(size) for size in expected)
        got = ",".join(map(str, shape))
        raise invalid_argument(f"{alias}: expects shape [{want}] but [{got}] is provided")
    if shape[0] > max_rows:
        raise invalid_argument(
            f"Task size {shape[0]} is larger than maximum input batch size {max_rows}"
        )
    if math.prod(shape) > max_rows * 1_000_000:
        raise invalid_argument(f"{alias}: shape {list(shape)} is too large")


def respond(servable, call, outputs):
    """The PredictResponse for `outputs` (alias -> array) of `call`."""
    response = predict_pb2.PredictResponse()
    spec = response.model_spec
    spec.name, spec.signature_name, spec.version.value = (
        servable.name,
        call.signature_name,
        servable.version,
    )
    for alias, value in outputs.items():
        write_tensor(response.outputs[alias], value)
    return response


def write_tensor(proto, value):
    """Writes an array into a TensorProto: numbers as raw content, strings one by one."""
    if value.dtype.kind in "OSU":
        proto.dtype = tf.string.as_datatype_enum
        proto.string_val.extend(value.reshape(-1))
    else:
        proto.dtype = tf.as_dtype(value.dtype).as_datatype_enum
        proto.tensor_content = value.tobytes()
    for size in value.shape:
        proto.tensor_shape.dim.add(size=size)
