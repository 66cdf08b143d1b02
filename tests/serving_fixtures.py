"""Servers and plain calls for the tests of serving."""

import contextlib
import threading
import time

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.options import ServerOptions
from serving.server import AvatarServer
from tests.real_server import RealServer
from tests.toy_models import landmarks


@contextlib.contextmanager
def polling(kind, models, poll_seconds=1):
    """Runs a server of `kind`, "embedded" or "tensorflow_model_server"; yields its address.

    It reads `<models>/models.config` again whenever the file changes.
    """
    if kind == "embedded":
        options = {
            "model_config_file": str(models / "models.config"),
            "model_config_file_poll_wait_seconds": 0.1,
            "allow_version_labels_for_unavailable_models": True,
            "enable_batching": True,
            "enable_per_model_batching_parameters": True,
            "grpc_max_threads": 64,
        }
        with serving(**options) as server:
            yield f"localhost:{server.port}"
        return
    flags = {
        "model_config_file_poll_wait_seconds": poll_seconds,
        "file_system_poll_wait_seconds": poll_seconds,
    }
    with RealServer(models, models / "server.log", **flags) as server:
        yield server.address


@contextlib.contextmanager
def serving(**options):
    """A running AvatarServer on a free port, which polls its folders ten times a second."""
    server = AvatarServer(
        ServerOptions(
            **{"host": "localhost", "port": 0, "file_system_poll_wait_seconds": 0.1, **options}
        )
    )
    server.start()
    try:
        yield server
    finally:
        server.stop(grace=5)


def stub_of(server):
    return prediction_service_pb2_grpc.PredictionServiceStub(
        grpc.insecure_channel(f"localhost:{server.port}")
    )


class Calls:
    """Plain Predict calls to any server."""

    def __init__(self, address):
        self._channel = grpc.insecure_channel(address)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._channel.close()

    def predict(self, name, inputs=None, signature="serving_default", timeout=20):
        return self._stub.Predict(request_for(name, inputs, signature), timeout=timeout)


def request_for(name, inputs=None, signature="serving_default"):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = name, signature
    for alias, value in ({"landmarks": landmarks(0.2, 0.7)} if inputs is None else inputs).items():
        request.inputs[alias].CopyFrom(tf.make_tensor_proto(value))
    return request


def packed_strings(values):
    """A string TensorProto [len(values)] with tensor_content, as the C++ runtime packs strings.

    The content is the lengths as varints, then the bytes.
    """
    proto = tensor_pb2.TensorProto(dtype=tf.string.as_datatype_enum)
    proto.tensor_shape.dim.add(size=len(values))
    lengths = bytearray()
    for value in values:
        left = len(value)
        while left >= 0x80:
            lengths.append(left & 0x7F | 0x80)
            left >>= 7
        lengths.append(left)
    proto.tensor_content = bytes(lengths) + b"".join(values)
    return proto


def answering(server, name):
    """The number of the version that rendered the frame."""
    response = stub_of(server).Predict(request_for(name), timeout=20)
    return int(tf.make_ndarray(response.outputs["frames"])[0, 0, 0, 0])


def wait_until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


class Gate:
    """Blocks every run of a loaded version until `open` is set, and records what was run."""

    def __init__(self, server, name, version=1):
        self.servable = server.manager.registry.models[name][version].servable
        self._run, self.servable.run = self.servable.run, self._gated
        self.open, self.entered = threading.Event(), threading.Event()
        self.seen = []

    def _gated(self, signature_name, inputs, outputs):
        self.seen.append(
            np.concatenate(
                [value[(slice(None),) + (0,) * (value.ndim - 1)] for value in inputs.values()]
            ).tolist()
        )
        self.entered.set()
        assert self.open.wait(30)
        return self._run(signature_name, inputs, outputs)
