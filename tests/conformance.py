"""Servers for the conformance tests, embedded and real, with the calls that the tests make."""

import contextlib
import time

import grpc
import tensorflow as tf
from grpc_health.v1 import health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.options import ServerOptions
from serving.server import AvatarServer
from tests import toy_models
from tests.real_server import RealServer, production_flags
from tests.toy_models import landmarks

Code = grpc.StatusCode
EMBEDDED, REAL = "embedded", "tensorflow_model_server"
AVAILABLE = get_model_status_pb2.ModelVersionStatus.AVAILABLE
END = get_model_status_pb2.ModelVersionStatus.END


class Served:
    """A running server, the folder its models are in, and stubs to call it with."""

    def __init__(self, kind, address, models, rest=None):
        self.kind, self.address, self.models = kind, address, models
        self.rest = rest  # host:port where the server answers REST predictions
        self._channel = grpc.insecure_channel(address)
        self.predict_stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self.model_stub = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self.health_stub = health_pb2_grpc.HealthStub(self._channel)
        self._config = {}

    def configure(self, name, labels=None, versions=None, folder=None):
        """Adds or changes the model `name` and waits until it is loaded.

        Args:
          name: of the model.
          labels: {label: version}.
          versions: list of versions to load; None: the default policy, the newest.
          folder: of the model's versions; None: <models>/<name>.
        """
        self._config[name] = (labels or {}, versions, folder or self.models / name)
        self._reload()

        def answers():
            loaded = {v for v, state in self.status(name).items() if state == AVAILABLE}
            return loaded and loaded >= set(versions or ())

        self.wait_until(answers)

    def drop(self, name):
        """Takes `name` out of the configuration and waits until its versions are unloaded.

        Otherwise the real server may mistake the old state of a version for that of its next load.
        """
        del self._config[name]
        self._reload()
        self.wait_until(lambda: set(self.status(name).values()) <= {END})

    def _reload(self):
        request = model_management_pb2.ReloadConfigRequest()
        request.config.model_config_list.SetInParent()  # an empty list is a configuration too
        for name, (labels, versions, folder) in self._config.items():
            model = request.config.model_config_list.config.add(
                name=name, base_path=str(folder), model_platform="tensorflow"
            )
            model.version_labels.update(labels)
            if versions:
                model.model_version_policy.specific.versions.extend(versions)
        for attempt in range(5):
            try:
                self.model_stub.HandleReloadConfigRequest(request, timeout=60)
                return
            except grpc.RpcError as error:
                # The real server may take the unloading of a version for the end of its next load
                # if that follows at once.
                if "did not become available" not in error.details() or attempt == 4:
                    raise
                time.sleep(0.5)

    def publish(self, name, version, models=None, **options):
        return toy_models.publish(models or self.models, name, version, **options)

    def status(self, name, version=None):
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = name
        if version is not None:
            request.model_spec.version.value = version
        rows = self.model_stub.GetModelStatus(request, timeout=10).model_version_status
        return {row.version: row.state for row in rows}

    def wait_until(self, condition, seconds=30):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it did not happen in time"
            time.sleep(0.05)

    def predict(
        self,
        name,
        inputs=None,
        signature="serving_default",
        outputs=(),
        version=None,
        label=None,
        timeout=10,
    ):
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = name, signature
        if version is not None:
            request.model_spec.version.value = version
        if label is not None:
            request.model_spec.version_label = label
        request.output_filter.extend(outputs)
        for alias, value in (inputs or {"landmarks": landmarks(0.2, 0.7)}).items():
            request.inputs[alias].CopyFrom(tf.make_tensor_proto(value))
        return self.predict_stub.Predict(request, timeout=timeout)

    def answering(self, name, **spec):
        """The number of the version that rendered the frame."""
        return int(tf.make_ndarray(self.predict(name, **spec).outputs["frames"])[0, 0, 0, 0])


@contextlib.contextmanager
def embedded(models):
    """An embedded server on `models`, with batching as in production."""
    server = AvatarServer(
        ServerOptions(
            model_config_file=str(_first_config(models)),
            port=0,
            enable_batching=True,
            enable_per_model_batching_parameters=True,
            file_system_poll_wait_seconds=0.1,
            grpc_max_threads=int(production_flags()["grpc_max_threads"]),
        )
    )
    server.start()
    try:
        yield Served(EMBEDDED, f"localhost:{server.port}", models)
    finally:
        server.stop()


@contextlib.contextmanager
def real(models):
    """A tensorflow_model_server on `models`.

    Configured over gRPC, so it does not poll its config file.
    """
    _first_config(models)
    flags = {
        "model_config_file_poll_wait_seconds": None,
        "file_system_poll_wait_seconds": 1,
        "allow_version_labels_for_unavailable_models": None,
    }
    with RealServer(models, models / "server.log", **flags) as server:
        yield Served(REAL, server.address, models, rest=f"localhost:{server.rest_port}")


def _first_config(models):
    """Writes a models.config with one model, without which TensorFlow Serving does not start."""
    toy_models.publish(models, "first", 1)
    config = models / "models.config"
    config.write_text(
        "model_config_list "
        f'{{ config {{ name: "first" base_path: "{models}/first" model_platform: "tensorflow" }} }}'
    )
    return config


SERVERS = {EMBEDDED: embedded, REAL: real}


def refusal(code):
    """A context in which a call must fail with status `code`; `details` is then its message."""

    class Refusal:
        def __enter__(self):
            return self

        def __exit__(self, kind, error, trace):
            assert error is not None, f"expected {code.name}, the call succeeded"
            if isinstance(error, grpc.RpcError):
                assert error.code() == code, (
                    f"expected {code.name}, got {error.code().name}: {error.details()}"
                )
                self.details = error.details()
                return True
            return False

    return Refusal()
