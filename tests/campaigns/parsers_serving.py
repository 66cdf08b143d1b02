"""Parsers of what servers and clients receive: requests, answers, text files."""

import contextlib
import pathlib
import tempfile

import numpy as np

from tests.campaigns import mutations
from tests.campaigns.parser import Parser, file_of, is_proto


def _text_proto(message_class, seed):
    """The parser of a text file of the server that holds a `message_class`."""

    def parse(data):
        from serving.config_protos import parse_file

        with file_of("x.config", data) as path:
            parse_file(path, message_class)

    return Parser(lambda: [seed], mutations.raw, parse, lambda data: data.isascii(), guided=True)


def _models_config():
    from tensorflow_serving.config import model_server_config_pb2

    seed = (
        'model_config_list { config { name: "ann" base_path: "/m/ann" model_platform: "tensorflow" '
        "model_version_policy { specific { versions: 1 versions: 2 } } "
        'version_labels { key: "stable" value: 1 } } }'
    )
    return _text_proto(model_server_config_pb2.ModelServerConfig, seed.encode())


def _batching():
    from serving.config_protos import BatchingParameters
    from tf_talkinghead.config import preset
    from tf_talkinghead.export.saved_model import batching_params

    return _text_proto(BatchingParameters, batching_params(preset("tiny").export).encode())


def _request():
    from tensorflow_serving.apis import predict_pb2

    from serving import requests
    from serving.servables import Servable
    from tests import toy_models
    from tests.serving_fixtures import request_for

    holder = []

    def parse(data):
        if not holder:
            folder = pathlib.Path(tempfile.mkdtemp(prefix="fuzz-"))
            holder.append(Servable("toy", 1, toy_models.publish(folder, "toy", 1)))
        request = predict_pb2.PredictRequest.FromString(data)
        requests.model_name_of(request)
        call = requests.parse(holder[0], request)
        if sum(value.nbytes for value in call.inputs.values()) < 1 << 20:
            outputs = holder[0].run(call.signature_name, call.inputs, call.outputs)
            requests.respond(holder[0], call, outputs)

    is_request = is_proto(predict_pb2.PredictRequest)
    guarded = lambda data: parse(data) if is_request(data) else None
    mutate = lambda rng, data: mutations.proto(rng, data, predict_pb2.PredictRequest)
    seeds = lambda: [request_for("toy").SerializeToString()]
    return Parser(seeds, mutate, guarded, is_request)


def _answer():
    from serving import tensors
    from serving.predict_protos import TensorProto

    def seeds():
        made = [np.zeros((2, 4, 4, 3), np.uint8), np.array([b"a", b"bc"], object), np.ones(2, bool)]
        return [tensors.to_proto(array).SerializeToString() for array in made]

    is_tensor = is_proto(TensorProto)
    parse = lambda data: tensors.to_array(TensorProto.FromString(data)) if is_tensor(data) else None
    mutate = lambda rng, data: mutations.proto(rng, data, TensorProto)
    return Parser(seeds, mutate, parse, is_tensor, guided=True)


def _rest():
    import socket

    from serving.metrics import Metrics
    from serving.registry import Registry
    from serving.rest import RestServer

    started = []

    def parse(data):
        if not started:
            server = RestServer("localhost", -1, Registry(), Metrics(), "/metrics")
            server.start()
            started.append(server)
        server = ("localhost", started[0].port)
        with contextlib.suppress(ConnectionError), socket.create_connection(server, 10) as sent:
            sent.sendall(data)
            sent.shutdown(socket.SHUT_WR)
            while sent.recv(65536):
                pass
        with socket.create_connection(server, 10) as connection:
            connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.0 200", "the server no longer answers"

    paths = ("/v1/models/ann", "/v1/models/ann/versions/1", "/v1/models/a/labels/b", "/metrics")
    seeds = lambda: [f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for path in paths]
    return Parser(seeds, mutations.raw, parse, lambda data: data.startswith(b"GET /"))


PARSERS = {
    "models_config": _models_config,
    "batching_config": _batching,
    "grpc_request": _request,
    "grpc_answer": _answer,
    "rest_request": _rest,
}
