"""Which model versions are loaded, and who is using them.

The life of a version is TensorFlow Serving's: START, LOADING, AVAILABLE, UNLOADING, END. A new version is loaded and
warmed up before it is named the latest, and an old one is closed only when the last call on it has ended, so a swap
fails no request. With `lazy`, versions stay in START until somebody asks for them, and the least recently used are
closed again when `memory_cap` bytes would be exceeded (TensorFlow Serving has neither).
"""

import contextlib
import dataclasses
import itertools
import threading
import time

import tensorflow as tf
from absl import logging
from tensorflow_serving.apis import get_model_status_pb2

from serving import batching, requests, versions
from serving.servables import Servable, estimated_bytes, rows_of
from serving.status import (
    Code,
    StatusError,
    deadline_exceeded,
    failed_precondition,
    from_tensorflow,
    invalid_argument,
    not_found,
)
from tf_talkinghead.errors import TalkingHeadError

State = get_model_status_pb2.ModelVersionStatus
LOAD_RETRIES = 5  # TensorFlow Serving's --max_num_load_retries
RETRY_SECONDS = 60.0  # its --load_retry_interval_micros
ENDED_KEPT = 8  # ended versions a model's status still tells of


@dataclasses.dataclass(eq=False)
class Loaded:
    """One version of a model, loaded or not."""

    name: str
    version: int
    path: str
    state: int = State.START
    error: StatusError | None = None
    servable: Servable | None = None
    options: batching.BatchingOptions | None = None  # for batching: the version's own, where it states some
    users: int = 0  # calls under way
    last_used: float = 0.0
    bytes: int = 0
    attempts: int = 0
    retry_at: float = 0.0


class Manager:
    """All models of one server. `on_change(name, serving)` is told whenever a model gets or loses its last version."""

    def __init__(self, metrics, on_change=None, on_close=None, lazy=False, memory_cap=None, loose_labels=False):
        self._metrics = metrics
        self._on_change = on_change or (lambda name, serving: None)
        self._on_close = on_close or (lambda loaded: None)
        self._lazy, self._memory_cap, self._loose_labels = lazy, memory_cap, loose_labels
        self._configs = {}  # model name -> ModelConfig
        self._models = {}  # model name -> {version: Loaded}; models no longer configured stay, ended
        self._labels = {}  # model name -> {label: version}
        self._changed = threading.Condition()  # guards everything above and in Loaded
        self._sync = threading.RLock()  # one reload or poll at a time

    # -- configuration ------------------------------------------------------------------------------------------

    def reload(self, config, labels_follow=False):
        """Makes `config` (ModelServerConfig) the configuration and loads and unloads what that takes.

        Labels are checked first, as TensorFlow Serving does: one may only point at a version that is available (or,
        with `loose_labels`, be new). With `labels_follow` they move after loading and before unloading instead, which
        is what a server needs that writes its own configuration. Raises StatusError; UNKNOWN where a new model has no
        version that loads.
        """
        versions.check_config(config)
        configs = {model.name: model for model in config.model_config_list.config}
        with self._sync:
            if not labels_follow:
                self._labels = self._checked_labels(configs)
            added = set(configs) - set(self._configs)
            self._configs = configs
            plan = self._load_aspired()
            if labels_follow:
                self._labels = {name: dict(model.version_labels) for name, model in configs.items()}
            self._unload_others(plan)
            missing = sorted(name for name in added if not self.serving(name))
        if missing:
            reasons = "; ".join(f"{name}: {self._why_missing(name)}" for name in missing)
            raise StatusError(Code.UNKNOWN, f"Some models did not become available: {{{reasons}}}")

    def poll(self):
        """Looks at the folders again: loads what is new, unloads what has gone."""
        with self._sync:
            self._unload_others(self._load_aspired())

    def model_names(self):
        return sorted(self._configs)

    def _checked_labels(self, configs):
        labels = {}
        for name, model in configs.items():
            for label, version in model.version_labels.items():
                moved = self._labels.get(name, {}).get(label, version) != version
                loaded = self._models.get(name, {}).get(version)
                available = loaded is not None and (loaded.state == State.AVAILABLE or self._sleeping(loaded))
                if not available and (moved or not self._loose_labels):
                    raise failed_precondition(
                        f"Request to assign label to version {version} of model {name}, "
                        "which is not currently available for inference"
                    )
                labels.setdefault(name, {})[label] = version
        return labels

    def _load_aspired(self):
        """Loads what policies ask for; returns model name -> the versions to keep."""
        plan = {}
        for name, config in sorted(self._configs.items()):
            on_disk = versions.versions_on_disk(config.base_path)
            aspired = versions.aspired_versions(config.model_version_policy, on_disk)
            plan[name] = aspired
            for version in sorted(aspired):
                self._aspire(name, version, on_disk[version])
        return plan

    def _aspire(self, name, version, path):
        with self._changed:
            known = self._models.setdefault(name, {})
            loaded = known.get(version)
            if loaded is None or (loaded.state == State.END and loaded.error is None):
                loaded = known[version] = Loaded(name, version, path, bytes=estimated_bytes(path))
            elif loaded.state != State.END or loaded.attempts > LOAD_RETRIES or time.monotonic() < loaded.retry_at:
                return
        if self._lazy and loaded.error is None:
            self._tell(name)
            return
        try:
            self._load(loaded)
        except StatusError as error:
            logging.error("Loading %s version %d failed: %s", name, version, error.message)

    def _unload_others(self, plan):
        for name in list(self._models):
            aspired = plan.get(name, set())
            with self._changed:
                live = [one for one in self._models[name].values() if one.state != State.END]
                leaving = [one for one in live if one.version not in aspired]
                usable = [one for one in live if one.version in aspired and one.error is None]
                if aspired and not usable and leaving:  # nothing new works: the newest old one stays
                    leaving.remove(max(leaving, key=lambda one: one.version))
            for loaded in leaving:
                self._unload(loaded)
            self._forget_ended(name)

    def _forget_ended(self, name):
        with self._changed:
            ended = sorted(version for version, one in self._models[name].items() if one.state == State.END)
            for version in ended[:-ENDED_KEPT]:
                del self._models[name][version]

    def _why_missing(self, name):
        known = self._models.get(name, {})
        for version in sorted(known, reverse=True):
            if known[version].error is not None:
                return f"version {version}: {known[version].error.message}"
        return f"no versions found under {self._configs[name].base_path}"

    # -- loading and unloading ----------------------------------------------------------------------------------

    def _load(self, loaded):
        """Loads and warms up one version; StatusError, also kept as the version's status, where that fails."""
        with self._changed:
            loaded.state = State.LOADING
            loaded.attempts += 1
        start = time.monotonic()
        servable = None
        try:
            servable = Servable(loaded.name, loaded.version, loaded.path)
            parameters = servable.batching_parameters()
            own = batching.options_from_proto(parameters, loaded.path) if parameters is not None else None
            self._metrics.load_latency.add(loaded.path, amount=int(1e6 * (time.monotonic() - start)))
            self._warm_up(servable, own)
        except Exception as error:  # a broken folder must not end the server; it is this version's status
            if servable is not None:
                servable.close()
            self._metrics.load_attempts.add(loaded.path, "fail")
            failure = _as_status(error)
            with self._changed:
                loaded.state, loaded.error = State.END, failure
                loaded.retry_at = time.monotonic() + RETRY_SECONDS
                self._changed.notify_all()
            raise failure from error
        self._metrics.load_attempts.add(loaded.path, "success")
        with self._changed:
            loaded.servable, loaded.options, loaded.error = servable, own, None
            loaded.state = State.AVAILABLE
            loaded.last_used = time.monotonic()
            self._changed.notify_all()
        logging.info("Loaded %s version %d in %.1f s", loaded.name, loaded.version, time.monotonic() - start)
        self._tell(loaded.name)

    def _warm_up(self, servable, own):
        start = time.monotonic()
        largest = own.max_execution_batch_size if own else requests.MAX_ROWS
        for request in servable.warmup_requests():
            call = requests.parse(servable, request)
            if rows_of(call.inputs) > largest:
                raise invalid_argument(f"a warm-up request has more than {largest} rows")
            servable.run(call.signature_name, call.inputs, call.outputs)
        self._metrics.warmup_latency.observe(1e6 * (time.monotonic() - start), servable.path, "success")

    def _unload(self, loaded, end_state=State.END):
        """Closes a version once the last call on it has ended."""
        with self._changed:
            loaded.state = State.UNLOADING
        self._tell(loaded.name)
        with self._changed:
            self._changed.wait_for(lambda: loaded.users == 0)
            servable, loaded.servable = loaded.servable, None
        if servable is not None:
            self._on_close(loaded)
            servable.close()
            logging.info("Unloaded %s version %d", loaded.name, loaded.version)
        with self._changed:
            loaded.state = end_state
            self._changed.notify_all()
        self._tell(loaded.name)

    def close(self):
        """Unloads everything, waiting for the calls under way."""
        with self._sync:
            self._configs = {}
            self._unload_others({})

    # -- use ----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def use(self, spec, deadline=None):
        """The version a ModelSpec asks for, held for the time of the block. Raises StatusError."""
        with self._changed:
            loaded = self._find(spec)
            loaded.users += 1
        try:
            if loaded.state != State.AVAILABLE:
                self._wake(loaded, deadline)
            loaded.last_used = time.monotonic()
            yield loaded
        finally:
            with self._changed:
                loaded.users -= 1
                self._changed.notify_all()

    def _find(self, spec):
        known = self._models.get(spec.name, {})
        choice = spec.WhichOneof("version_choice")
        if choice == "version_label":
            version = self._labels.get(spec.name, {}).get(spec.version_label)
            if version is None:
                raise invalid_argument(f"Unrecognized servable version label: {spec.version_label}")
        elif choice == "version":
            version = spec.version.value
        else:
            version = max((one.version for one in known.values() if self._usable(one)), default=None)
        loaded = known.get(version)
        if loaded is None or not self._usable(loaded):
            asked = f"Latest({spec.name})" if choice is None else f"Specific({spec.name}, {version})"
            raise not_found(f"Servable not found for request: {asked}")
        return loaded

    def _usable(self, loaded):
        return loaded.state == State.AVAILABLE or self._sleeping(loaded)

    def _sleeping(self, loaded):
        return self._lazy and loaded.error is None and loaded.state in (State.START, State.LOADING)

    def _wake(self, loaded, deadline):
        """Loads a version on its first use; the first caller does it and the others wait."""
        with self._changed:
            mine = loaded.state == State.START
            if mine:
                loaded.state = State.LOADING
            while loaded.state == State.LOADING and not mine:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise deadline_exceeded("the deadline passed while the model was being loaded")
                self._changed.wait(left)
        if mine:
            try:
                self._make_room(loaded, deadline)
            except StatusError:
                with self._changed:
                    loaded.state = State.START
                    self._changed.notify_all()
                raise
            self._load(loaded)
        elif loaded.state != State.AVAILABLE:
            raise loaded.error or not_found(f"Servable not found for request: Specific({loaded.name}, {loaded.version})")

    def _make_room(self, newcomer, deadline):
        """Closes the least recently used idle versions until `newcomer` fits under the memory cap."""
        if self._memory_cap is None:
            return
        if newcomer.bytes > self._memory_cap:
            raise StatusError(
                Code.RESOURCE_EXHAUSTED,
                f"{newcomer.name} takes about {newcomer.bytes >> 20} MiB, the cap is {self._memory_cap >> 20} MiB",
            )
        while True:
            with self._changed:
                everyone = itertools.chain.from_iterable(known.values() for known in self._models.values())
                held = [one for one in everyone if one is not newcomer and one.servable is not None]
                if sum(one.bytes for one in held) + newcomer.bytes <= self._memory_cap:
                    return
                idle = [one for one in held if one.users == 0 and one.state == State.AVAILABLE]
                if not idle:
                    left = None if deadline is None else deadline - time.monotonic()
                    if left is not None and left <= 0:
                        raise deadline_exceeded("the deadline passed while the model waited for memory")
                    self._changed.wait(0.5 if left is None else min(left, 0.5))
                    continue
                oldest = min(idle, key=lambda one: one.last_used)
                oldest.state = State.UNLOADING
            self._unload(oldest, end_state=State.START)

    # -- status -------------------------------------------------------------------------------------------------

    def serving(self, name):
        """Whether some version of the model answers (or would be loaded to answer)."""
        with self._changed:
            return any(self._usable(one) for one in self._models.get(name, {}).values())

    def ready(self):
        """Whether every configured model answers."""
        return all(self.serving(name) for name in self._configs)

    def _tell(self, name):
        self._on_change(name, self.serving(name))

    def status(self, spec):
        """GetModelStatusResponse for a ModelSpec; NOT_FOUND where nothing is known of it."""
        response = get_model_status_pb2.GetModelStatusResponse()
        with self._changed:
            known = self._models.get(spec.name, {})
            choice = spec.WhichOneof("version_choice")
            wanted = sorted(known, reverse=True)
            if choice is not None:
                version = spec.version.value
                if choice == "version_label":
                    version = self._labels.get(spec.name, {}).get(spec.version_label)
                    if version is None:
                        raise invalid_argument(f"Unrecognized servable version label: {spec.version_label}")
                if version not in known:
                    raise not_found(f"Could not find version {version} of model {spec.name}")
                wanted = [version]
            if not wanted:
                raise not_found(f"Could not find any versions of model {spec.name}")
            for version in wanted:
                loaded = known[version]
                row = response.model_version_status.add(version=version, state=loaded.state)
                if loaded.error is not None:
                    row.status.error_code = loaded.error.code.value[0]
                    row.status.error_message = loaded.error.message
                else:
                    row.status.SetInParent()
        return response


def _as_status(error):
    if isinstance(error, StatusError):
        return error
    if isinstance(error, tf.errors.OpError):
        return from_tensorflow(error)
    if isinstance(error, TalkingHeadError):
        return invalid_argument(str(error))
    return StatusError(Code.UNKNOWN, f"{type(error).__name__}: {error}")
