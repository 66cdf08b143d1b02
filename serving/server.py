"""The embedded server: TensorFlow Serving's gRPC API in Python, for a laptop, CI and the quickstart.

    server = AvatarServer(ServerOptions(models="avatars", port=0))
    server.start()            # loads what is there, then listens
    server.port
    server.stop(grace=10)     # drains, then unloads

Same protos, model folders, config files and status codes as `tensorflow_model_server`, so clients and configuration
work against either. It is a development default and stays small: no Classify, Regress or session service.
"""

import concurrent.futures
import dataclasses
import os
import threading
import time

import grpc
from absl import logging
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2

from serving import batching, config_protos, models_config, requests, servables
from serving.manager import Manager
from serving.metrics import Metrics
from serving.rest import RestServer
from serving.status import Code, StatusError, deadline_exceeded, invalid_argument
from tf_talkinghead.errors import InputError

MAX_MESSAGE_BYTES = 16 << 20  # of one request; 544 bytes a frame, 52 KB where it carries a person's vector
DEFAULT_PART_ROWS = 64  # rows run at a time without batching, where the model states no limit of its own


@dataclasses.dataclass(frozen=True)
class ServerOptions:
    """Names and defaults are tensorflow_model_server's; the first and the last three are ours."""

    models: str = ""  # a models folder: everyone in it is served, and watched
    port: int = 8500
    rest_api_port: int = 0  # 0: none
    model_name: str = "default"
    model_base_path: str = ""
    model_config_file: str = ""
    model_config_file_poll_wait_seconds: float = 0.0  # 0: read once
    file_system_poll_wait_seconds: float = 1.0  # 0: look once
    enable_batching: bool | None = None  # None: on with `models`, otherwise off
    enable_per_model_batching_parameters: bool | None = None  # None: on with `models`, otherwise off
    batching_parameters_file: str = ""
    ssl_config_file: str = ""
    monitoring_config_file: str = ""
    grpc_max_threads: int = 0  # calls under way at once; 0: four a core
    grpc_channel_arguments: str = ""  # "name=value,..."
    allow_version_labels_for_unavailable_models: bool = False
    host: str = "0.0.0.0"
    lazy_loading: bool = False  # load a model when it is first asked for
    memory_cap_mb: int = 0  # with lazy_loading: close the least recently used beyond this; 0: no cap


class AvatarServer:
    """The server described by `options`. Its constructor checks them and raises InputError."""

    def __init__(self, options):
        self.options = options
        sources = [options.models, options.model_config_file, options.model_base_path]
        if sum(map(bool, sources)) != 1:
            raise InputError("name one of --models, --model_config_file and --model_base_path")
        if options.memory_cap_mb and not options.lazy_loading:
            raise InputError("--memory_cap_mb needs --lazy_loading")
        embedded = bool(options.models)
        self._batching_on = embedded if options.enable_batching is None else options.enable_batching
        per_model = options.enable_per_model_batching_parameters
        self._per_model = embedded if per_model is None else per_model
        self._batching, threads, self._pool_name = _batching_of(options, self._batching_on)
        self._config = self._read_config()
        self._credentials = _credentials_of(options)
        self.metrics = Metrics()
        self._health = health.HealthServicer(experimental_non_blocking=True)
        self._scheduler = batching.BatchScheduler(threads, self._on_dequeue) if self._batching_on else None
        self.manager = Manager(
            self.metrics,
            on_change=self._set_health,
            on_close=self._forget_queues,
            lazy=options.lazy_loading,
            memory_cap=options.memory_cap_mb << 20 or None,
            loose_labels=options.allow_version_labels_for_unavailable_models,
        )
        self._rest = _rest_of(options, self)
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="watcher", daemon=True)
        self._grpc = None
        self.port = None

    # -- life ---------------------------------------------------------------------------------------------------

    def start(self):
        """Loads the models, then listens. InputError where the port is taken or the configuration is refused."""
        options = self.options
        threads = options.grpc_max_threads or 4 * (os.cpu_count() or 1)
        self._grpc = grpc.server(
            concurrent.futures.ThreadPoolExecutor(threads, thread_name_prefix="grpc"),
            maximum_concurrent_rpcs=threads,
            options=_channel_arguments(options.grpc_channel_arguments),
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_Prediction(self), self._grpc)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(_Models(self), self._grpc)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        reflection.enable_server_reflection(_reflected_names(), self._grpc)
        self.port = self._listen()
        self._set_health("", False)
        try:
            self.manager.reload(self._config, labels_follow=bool(options.models))
        except StatusError as error:
            if error.code != Code.UNKNOWN:  # one person's broken folder does not keep the others from being served
                raise InputError(error.message) from error
            logging.error("%s", error.message)
        self._grpc.start()
        self._set_health("", self.manager.ready())
        self._rest.start()
        self._watcher.start()

    def _listen(self):
        address = f"{self.options.host}:{self.options.port}"
        try:
            if self._credentials is None:
                return self._grpc.add_insecure_port(address)
            return self._grpc.add_secure_port(address, self._credentials)
        except RuntimeError as error:
            raise InputError(f"--port={self.options.port}: cannot listen there (is it in use?)") from error

    def stop(self, grace=30.0):
        """Refuses new calls, gives those under way `grace` seconds, then unloads everything."""
        self._stopping.set()
        self._health.enter_graceful_shutdown()
        if self._grpc is not None:
            self._grpc.stop(grace).wait()
        if self._watcher.is_alive():
            self._watcher.join()
        if self._scheduler is not None:
            self._scheduler.close()
        self.manager.close()
        self._rest.stop()

    # -- configuration ------------------------------------------------------------------------------------------

    def _read_config(self):
        options = self.options
        if options.models:
            return models_config.build(options.models, previous=models_config.read_if_there(options.models))
        if options.model_config_file:
            return config_protos.parse_file(options.model_config_file, model_server_config_pb2.ModelServerConfig)
        config = model_server_config_pb2.ModelServerConfig()
        config.model_config_list.config.add(
            name=options.model_name,
            base_path=os.path.abspath(options.model_base_path),
            model_platform="tensorflow",
        )
        return config

    def _watch(self):
        """Polls folders and configuration file until the server stops."""
        options = self.options
        folders = _Clock(options.file_system_poll_wait_seconds)
        file = _Clock(options.model_config_file_poll_wait_seconds if options.model_config_file else 0)
        waits = [clock.period for clock in (folders, file) if clock.period > 0]
        while waits and not self._stopping.wait(min(waits)):
            try:
                if (options.models and folders.due()) or file.due():
                    self._reload_if_changed()
                elif folders.due():
                    self.manager.poll()
                self._set_health("", self.manager.ready())
            except (InputError, StatusError) as error:
                logging.error("configuration: %s", error)

    def _reload_if_changed(self):
        config = self._read_config()
        if config == self._config:
            self.manager.poll()
            return
        self._config = config
        self.manager.reload(config, labels_follow=bool(self.options.models))

    def reload(self, config):
        """HandleReloadConfigRequest: as Manager.reload."""
        if config.WhichOneof("config") != "model_config_list":
            raise invalid_argument(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported"
            )
        self.manager.reload(config)
        self._set_health("", self.manager.ready())

    # -- calls --------------------------------------------------------------------------------------------------

    def predict(self, request, deadline=None, on_cancel=lambda callback: True):
        """The PredictResponse, or StatusError. `deadline`: time.monotonic() seconds.

        `on_cancel(callback)` registers what to do when the caller goes, and is false if it has gone already.
        """
        requests.model_name_of(request)
        with self.manager.use(request.model_spec, deadline) as loaded:
            call = requests.parse(loaded.servable, request)
            if deadline is not None and time.monotonic() > deadline:
                raise deadline_exceeded("the deadline passed before the model was run")
            if self._scheduler is not None and servables.rows_of(call.inputs):
                outputs = self._run_batched(loaded, call, deadline, on_cancel)
            else:
                limit = loaded.options.max_execution_batch_size if loaded.options else DEFAULT_PART_ROWS
                outputs = self._timed_run(
                    loaded, lambda: servables.run_in_parts(loaded.servable, call.signature_name, call.inputs, call.outputs, limit)
                )
            return requests.respond(loaded.servable, call, outputs)

    def _run_batched(self, loaded, call, deadline, on_cancel):
        bad = requests.first_non_finite_row(call.inputs)
        if bad is not None:
            raise invalid_argument(f"{bad[0]}: row {bad[1]} has numbers that are not finite")
        options = loaded.options if self._per_model and loaded.options else self._batching

        def run(inputs):
            self.metrics.batches.add()
            return self._timed_run(loaded, lambda: loaded.servable.run(call.signature_name, inputs, call.outputs))

        task = batching.Task(call.inputs, deadline)
        parts = self._scheduler.submit((loaded, call.signature_name, call.outputs), run, options, task)
        if not on_cancel(lambda: [part.cancel() for part in parts]):
            raise StatusError(Code.CANCELLED, "the caller has cancelled")
        results = [part.wait() for part in parts]
        return {alias: requests.joined([result[alias] for result in results]) for alias in call.outputs}

    def _timed_run(self, loaded, run):
        start = time.monotonic()
        outputs = run()
        self.metrics.runtime_latency.observe(1e6 * (time.monotonic() - start), loaded.name, "Predict", "TF1")
        return outputs

    def metadata(self, request):
        """GetModelMetadataResponse, or StatusError."""
        requests.model_name_of(request)
        if not request.metadata_field:
            raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != "signature_def":
                raise invalid_argument(f"Metadata field {field} is not supported")
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        with self.manager.use(request.model_spec) as loaded:
            response.model_spec.name, response.model_spec.version.value = loaded.name, loaded.version
            signatures = get_model_metadata_pb2.SignatureDefMap()
            for key, value in loaded.servable.meta_graph.signature_def.items():
                signatures.signature_def[key].CopyFrom(value)
            response.metadata["signature_def"].Pack(signatures)
        return response

    # -- callbacks ----------------------------------------------------------------------------------------------

    def _set_health(self, name, serving):
        status = health_pb2.HealthCheckResponse
        self._health.set(name, status.SERVING if serving else status.NOT_SERVING)

    def _forget_queues(self, loaded):
        if self._scheduler is not None:
            self._scheduler.remove(lambda key: key[0] is loaded)

    def _on_dequeue(self, seconds):
        self.metrics.queueing_latency.observe(1e6 * seconds, self._pool_name)


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
            # a name nobody serves is the caller's invention: it gets no line of its own
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
        return self._server.manager.status(request.model_spec)

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


class _Clock:
    """Says once in `period` seconds that something is due; never for 0."""

    def __init__(self, period):
        self.period = period
        self._last = time.monotonic()

    def due(self):
        if self.period <= 0 or time.monotonic() - self._last < self.period * 0.9:
            return False
        self._last = time.monotonic()
        return True


def _batching_of(options, enabled):
    """(BatchingOptions, threads, pool name) of the server-wide batching file."""
    if not options.batching_parameters_file:
        return batching.BatchingOptions(), None, batching.DEFAULT_POOL_NAME
    if not enabled:
        raise InputError("--batching_parameters_file is set without setting --enable_batching")
    path = options.batching_parameters_file
    proto = config_protos.parse_file(path, config_protos.BatchingParameters)
    threads = proto.num_batch_threads.value or None
    pool = proto.thread_pool_name.value or batching.DEFAULT_POOL_NAME
    return batching.options_from_proto(proto, path), threads, pool


def _credentials_of(options):
    if not options.ssl_config_file:
        return None
    ssl = config_protos.parse_file(options.ssl_config_file, config_protos.SSLConfig)
    if not ssl.server_key or not ssl.server_cert:
        raise InputError(f"{options.ssl_config_file}: server_key and server_cert must hold PEM text")
    if ssl.client_verify and not ssl.custom_ca:
        raise InputError(f"{options.ssl_config_file}: client_verify needs custom_ca, whose clients are let in")
    return grpc.ssl_server_credentials(
        [(ssl.server_key.encode(), ssl.server_cert.encode())],
        root_certificates=ssl.custom_ca.encode() or None,
        require_client_auth=ssl.client_verify,
    )


def _rest_of(options, server):
    path = None
    if options.monitoring_config_file:
        monitoring = config_protos.parse_file(options.monitoring_config_file, config_protos.MonitoringConfig)
        if monitoring.prometheus_config.enable:
            path = monitoring.prometheus_config.path or "/monitoring/prometheus/metrics"
    return RestServer(options.host, options.rest_api_port, server.manager, server.metrics, path)


def _channel_arguments(text):
    """"name=value,..." as gRPC options; a request's size is bounded unless it says otherwise."""
    arguments = {
        "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
        "grpc.max_send_message_length": -1,
        "grpc.so_reuseport": 0,  # a second server on the same port is an error, not a coin toss
    }
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        if not name or not value:
            raise InputError(f"--grpc_channel_arguments: expected name=value, got {part!r}")
        arguments[name] = int(value) if value.lstrip("-").isdigit() else value
    return list(arguments.items())


def _reflected_names():
    services = prediction_service_pb2.DESCRIPTOR.services_by_name.values()
    return [
        *(service.full_name for service in services),
        "tensorflow.serving.ModelService",
        health.SERVICE_NAME,
        reflection.SERVICE_NAME,
    ]


