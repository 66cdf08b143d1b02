"""Embedded server: TensorFlow Serving's gRPC API in Python, for laptops, CI and the quickstart.

    server = AvatarServer(ServerOptions(models="avatars", port=0))
    server.start()            # loads what is there, then listens
    server.port
    server.stop(grace=10)     # drains, then unloads

It has the protos, model folders, config files and status codes of `tensorflow_model_server`, so
that clients and configuration work with either. It is intended for development and omits the
Classify, Regress and session services.
"""

import concurrent.futures
import contextlib
import os
import threading
import time

import grpc
from absl import logging
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from tensorflow_serving.apis import get_model_metadata_pb2

from serving import batching, config_protos, configuration, requests, servables, services
from serving.manager import Manager
from serving.metrics import DEFAULT_PATH, Metrics
from serving.options import ServerOptions, batching_of, channel_arguments, credentials_of
from serving.ports import check_free
from serving.rest import RestServer
from serving.status import Code, StatusError, deadline_exceeded, invalid_argument, unavailable
from tf_talkinghead.errors import InputError

# Seconds for which a stopping server still answers calls, with UNAVAILABLE, which clients retry. A
# call that arrives while gRPC's own server closes is CANCELLED, which not every client retries.
FAREWELL = 0.3


class AvatarServer:
    """The server described by `options`; the constructor raises InputError for invalid ones."""

    def __init__(self, options: ServerOptions):
        self.options = options
        sources = [options.models, options.model_config_file, options.model_base_path]
        if sum(map(bool, sources)) != 1:
            raise InputError("name one of --models, --model_config_file and --model_base_path")
        embedded = bool(options.models)
        self._batching_on = embedded if options.enable_batching is None else options.enable_batching
        per_model = options.enable_per_model_batching_parameters
        self._per_model = embedded if per_model is None else per_model
        self._batching, threads, self._pool_name = batching_of(options, self._batching_on)
        self._config = configuration.read(self.options)
        self._credentials = credentials_of(options)
        self.metrics = Metrics()
        self._calls, self._calls_lock = 0, threading.Lock()
        self._health = health.HealthServicer(experimental_non_blocking=True)
        self._scheduler = None
        if self._batching_on:
            self._scheduler = batching.BatchScheduler(threads, self._on_dequeue, self._under_way)
        self.manager = Manager(
            self.metrics,
            on_change=self._set_health,
            on_close=self._forget_queues,
            loose_labels=options.allow_version_labels_for_unavailable_models,
        )
        self._rest = _rest_of(options, self)
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="watcher", daemon=True)
        self._grpc = None
        self.port = None

    # -- start and stop --------------------------------------------------------------------------

    def start(self):
        """Loads the models, then listens.

        Raises:
          InputError: the port is in use, or the configuration is refused.
        """
        options = self.options
        threads = options.grpc_max_threads or 4 * (os.cpu_count() or 1)
        self._grpc = grpc.server(
            concurrent.futures.ThreadPoolExecutor(threads, thread_name_prefix="grpc"),
            maximum_concurrent_rpcs=threads,
            options=channel_arguments(options.grpc_channel_arguments),
        )
        services.add_to(self._grpc, self)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        reflection.enable_server_reflection(services.reflected_names(), self._grpc)
        self.port = self._listen()
        self._set_health("", False)
        try:
            self.manager.reload(self._config, labels_follow=bool(options.models))
        except StatusError as error:
            # A broken folder must not keep the other models from being served.
            if error.code != Code.UNKNOWN:
                raise InputError(error.message) from error
            logging.error("%s", error.message)
        if options.exposed:
            logging.warning(
                "listening on %s without TLS: anyone who reaches this port can render every avatar "
                "and reload the configuration; --ssl_config_file encrypts and, with client_verify, "
                "authenticates callers",
                options.host,
            )
        self._grpc.start()
        self._set_health("", self.manager.ready())
        self._rest.start()
        self._watcher.start()

    def _listen(self):
        address = f"{self.options.host}:{self.options.port}"
        try:
            check_free(self.options.host, self.options.port)
            if self._credentials is None:
                return self._grpc.add_insecure_port(address)
            return self._grpc.add_secure_port(address, self._credentials)
        except (RuntimeError, OSError) as error:
            raise InputError(f"{address}: cannot listen there (is the port in use?)") from error

    def stop(self, grace=30.0):
        """Stops the server.

        New calls are refused as UNAVAILABLE, those in progress have `grace` seconds to finish, then
        all models are unloaded.
        """
        end = time.monotonic() + grace
        with self._calls_lock:  # each call is either counted or refused
            self._stopping.set()
        self._health.enter_graceful_shutdown()
        if self._grpc is not None:
            time.sleep(min(FAREWELL, grace))
            while self._calls and time.monotonic() < end:
                time.sleep(0.01)
            self._grpc.stop(max(0.0, end - time.monotonic())).wait()
        if self._watcher.is_alive():
            self._watcher.join()
        if self._scheduler is not None:
            self._scheduler.close()
        self.manager.close()
        self._rest.stop()

    # -- configuration ---------------------------------------------------------------------------

    def _watch(self):
        """Polls folders and configuration file until the server stops."""
        options = self.options
        folders = configuration.Clock(options.file_system_poll_wait_seconds)
        file = configuration.Clock(
            options.model_config_file_poll_wait_seconds if options.model_config_file else 0
        )
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
        config = configuration.read(self.options)
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

    # -- calls -----------------------------------------------------------------------------------

    def predict(self, request, deadline=None, on_cancel=lambda callback: True):
        """Answers a PredictRequest.

        Args:
          request: the PredictRequest.
          deadline: time.monotonic() seconds, or None.
          on_cancel: function that registers a callback for the caller's cancellation; it returns
            False if the call has been cancelled already.

        Returns:
          The PredictResponse.

        Raises:
          StatusError: the request is refused or fails.
        """
        requests.model_name_of(request)
        with self._counted(), self.manager.use(request.model_spec) as loaded:
            call = requests.parse(loaded.servable, request)
            if deadline is not None and time.monotonic() > deadline:
                raise deadline_exceeded("the deadline passed before the model was run")
            if self._scheduler is not None and servables.rows_of(call.inputs):
                outputs = self._run_batched(loaded, call, deadline, on_cancel)
            else:
                if not on_cancel(lambda: None):
                    raise StatusError(Code.CANCELLED, "the caller has cancelled")
                outputs = self._run(loaded, call, call.inputs)
            return requests.respond(loaded.servable, call, outputs)

    @contextlib.contextmanager
    def _counted(self):
        with self._calls_lock:
            if self._stopping.is_set():
                raise unavailable("the server is stopping")
            self._calls += 1
        try:
            yield
        finally:
            with self._calls_lock:
                self._calls -= 1

    def _under_way(self):
        return self._calls

    def _run_batched(self, loaded, call, deadline, on_cancel):
        options = loaded.options if self._per_model and loaded.options else self._batching

        def run(inputs):
            self.metrics.batches.add()
            return self._run(loaded, call, inputs)

        task = batching.Task(call.inputs, deadline)
        key = (loaded, call.signature_name, call.outputs)
        self._scheduler.submit(key, run, options, task)
        if not on_cancel(task.cancel):
            raise StatusError(Code.CANCELLED, "the caller has cancelled")
        return task.wait()

    def _run(self, loaded, call, inputs):
        """Runs the model once for `inputs`, which may be those of several calls."""
        start = time.monotonic()
        outputs = loaded.servable.run(call.signature_name, inputs, call.outputs)
        took = 1e6 * (time.monotonic() - start)
        self.metrics.runtime_latency.observe(took, loaded.name, "Predict", "TF1")
        return outputs

    def metadata(self, request):
        """Answers a GetModelMetadataRequest; raises StatusError where it is refused."""
        requests.model_name_of(request)
        if not request.metadata_field:
            raise invalid_argument(
                "GetModelMetadataRequest must specify at least one metadata_field"
            )
        for field in request.metadata_field:
            if field != "signature_def":
                raise invalid_argument(f"Metadata field {field} is not supported")
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        with self.manager.use(request.model_spec) as loaded:
            response.model_spec.name, response.model_spec.version.value = (
                loaded.name,
                loaded.version,
            )
            signatures = get_model_metadata_pb2.SignatureDefMap()
            for key, value in loaded.servable.meta_graph.signature_def.items():
                signatures.signature_def[key].CopyFrom(value)
            response.metadata["signature_def"].Pack(signatures)
        return response

    # -- callbacks -------------------------------------------------------------------------------

    def _set_health(self, name, serving):
        status = health_pb2.HealthCheckResponse
        self._health.set(name, status.SERVING if serving else status.NOT_SERVING)

    def _forget_queues(self, loaded):
        if self._scheduler is not None:
            self._scheduler.remove(lambda key: key[0] is loaded)

    def _on_dequeue(self, seconds):
        self.metrics.queueing_latency.observe(1e6 * seconds, self._pool_name)


def _rest_of(options, server):
    path = None
    if options.monitoring_config_file:
        monitoring = config_protos.parse_file(
            options.monitoring_config_file, config_protos.MonitoringConfig
        )
        if monitoring.prometheus_config.enable:
            path = monitoring.prometheus_config.path or DEFAULT_PATH
    return RestServer(
        options.host, options.rest_api_port, server.manager.registry, server.metrics, path
    )
