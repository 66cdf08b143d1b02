"""gRPC services of an AvatarServer; a StatusError becomes the status of the call."""

import time

from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection
from tensorflow_serving.apis import (
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2,
    prediction_service_pb2_grpc,
)

from serving import requests
from serving.status import Code, StatusError


def add_to(grpc_server, server):
    """Adds PredictionService and ModelService, answered by `server`, to `grpc_server`."""
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        _Prediction(server), grpc_server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(_Models(server), grpc_server)


def reflected_names():
    """The full names of the services that server reflection lists."""
    services = prediction_service_pb2.DESCRIPTOR.services_by_name.values()
    return [
        *(service.full_name for service in services),
        "tensorflow.serving.ModelService",
        health.SERVICE_NAME,
        reflection.SERVICE_NAME,
    ]


class _Prediction(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, server):
        self._server = server

    def Predict(self, request, context):
        start = time.monotonic()
        left = context.time_remaining()
        deadline = None if left is None else start + left
        metrics, name = self._server.metrics, request.model_spec.name
        try:
            response = self._server.predict(request, deadline, context.add_callback)
        except StatusError as error:
            # Unknown model names come from callers and must not create new metric lines.
            known = error.code != Code.NOT_FOUND
            metrics.requests.add(name if known else "", error.code.name)
            context.abort(error.code, error.message)
        metrics.requests.add(name, "OK")
        metrics.request_latency.observe(1e6 * (time.monotonic() - start), name, "Predict", "GRPC")
        return response

    def GetModelMetadata(self, request, context):
        return _answer(context, self._server.metadata, request)


class _Models(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, server):
        self._server = server

    def GetModelStatus(self, request, context):
        return _answer(context, self._status, request)

    def _status(self, request):
        requests.model_name_of(request)
        return self._server.manager.registry.status(request.model_spec)

    def HandleReloadConfigRequest(self, request, context):
        return _answer(context, self._reload, request)

    def _reload(self, request):
        self._server.reload(request.config)
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()
        return response


def _answer(context, function, request):
    try:
        return function(request)
    except StatusError as error:
        context.abort(error.code, error.message)
