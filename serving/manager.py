"""Loads, swaps and unloads model versions, as the configuration, the folders and the callers ask for.

A new version is loaded and warmed up before it becomes the latest, and an old one is closed only when the last call
on it has ended, so a swap fails no request. With `lazy`, versions wait in START until somebody asks for them, and the
least recently used are closed again where `memory_cap` bytes would be exceeded (TensorFlow Serving has neither).
"""

import contextlib
import threading
import time

from absl import logging

from serving import loading, versions
from serving.loading import State
from serving.registry import Registry
from serving.status import (
    Code,
    StatusError,
    deadline_exceeded,
    failed_precondition,
    not_found,
)

LOAD_RETRIES = 5  # TensorFlow Serving's --max_num_load_retries
RETRY_SECONDS = 60.0  # its --load_retry_interval_micros


class Manager:
    """All models of one server.

    Args:
      metrics: the server's Metrics.
      on_change: called with (model name, whether it answers) when that may have changed.
      on_close: called with the Loaded about to be closed.
      lazy, memory_cap: load on first use, and keep at most so many (estimated) bytes.
      loose_labels: a new label may point at a version that is not available yet.
    """

    def __init__(
        self,
        metrics,
        on_change=None,
        on_close=None,
        lazy=False,
        memory_cap=None,
        loose_labels=False,
    ):
        self.registry = Registry(lazy)
        self._metrics = metrics
        self._on_change = on_change or (lambda name, serving: None)
        self._on_close = on_close or (lambda loaded: None)
        self._lazy, self._memory_cap, self._loose_labels = lazy, memory_cap, loose_labels
        self._configs = {}  # model name -> ModelConfig
        self._changed = self.registry.changed
        self._sync = threading.RLock()  # one reload or poll at a time
        self._telling = threading.Lock()

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
                self.registry.labels = self._checked_labels(configs)
            added = set(configs) - set(self._configs)
            self._configs = configs
            plan = self._load_aspired()
            if labels_follow:
                self.registry.labels = {
                    name: dict(model.version_labels) for name, model in configs.items()
                }
            self._unload_others(plan)
            missing = sorted(name for name in added if not self.registry.serving(name))
            reasons = "; ".join(f"{name}: {self._why_missing(name)}" for name in missing)
        if missing:
            raise StatusError(Code.UNKNOWN, f"Some models did not become available: {{{reasons}}}")

    def poll(self):
        """Looks at the folders again: loads what is new, unloads what has gone."""
        with self._sync:
            self._unload_others(self._load_aspired())

    def ready(self):
        """Whether every configured model answers."""
        return all(self.registry.serving(name) for name in list(self._configs))

    def _checked_labels(self, configs):
        labels = {}
        for name, model in configs.items():
            for label, version in model.version_labels.items():
                moved = self.registry.labels.get(name, {}).get(label, version) != version
                loaded = self.registry.models.get(name, {}).get(version)
                available = loaded is not None and self.registry.usable(loaded)
                if not available and (moved or not self._loose_labels):
                    raise failed_precondition(
                        f"Request to assign label to version {version} of model {name}, "
                        "which is not currently available for inference"
                    )
                labels.setdefault(name, {})[label] = version
        return labels

    def _load_aspired(self):
        """Loads what the version policies ask for; returns model name -> the versions to keep."""
        plan = {}
        for name, config in sorted(self._configs.items()):
            on_disk = versions.versions_on_disk(config.base_path)
            plan[name] = versions.aspired_versions(config.model_version_policy, on_disk)
            for version in sorted(plan[name]):
                self._aspire(name, version, on_disk[version])
        return plan

    def _aspire(self, name, version, path):
        with self._changed:
            known = self.registry.models.setdefault(name, {})
            loaded = known.get(version)
            if loaded is None or (loaded.state == State.END and loaded.error is None):
                loaded = known[version] = loading.new_version(name, version, path)
            elif (
                loaded.state != State.END
                or loaded.attempts > LOAD_RETRIES
                or time.monotonic() < loaded.retry_at
            ):
                return
        if self._lazy and loaded.error is None:
            self._tell(name)
            return
        with contextlib.suppress(StatusError):  # it is logged, and the version's status
            self._load(loaded)

    def _unload_others(self, plan):
        for name in list(self.registry.models):
            aspired = plan.get(name, set())
            with self._changed:
                live = [
                    one for one in self.registry.models[name].values() if one.state != State.END
                ]
                leaving = [one for one in live if one.version not in aspired]
                if aspired and leaving and all(one in leaving for one in live):
                    leaving.remove(
                        max(leaving, key=lambda one: one.version)
                    )  # nothing new works: the newest old stays
            for loaded in leaving:
                self._unload(loaded)
            self.registry.forget_ended(name)

    def _why_missing(self, name):
        known = self.registry.models.get(name, {})
        for version in sorted(known, reverse=True):
            if known[version].error is not None:
                return f"version {version}: {known[version].error.message}"
        return f"no versions found under {self._configs[name].base_path}"

    # -- loading and unloading ----------------------------------------------------------------------------------

    def _load(self, loaded):
        """Loads one version; StatusError, also kept as the version's status, where that fails."""
        with self._changed:
            loaded.state = State.LOADING
            loaded.attempts += 1
        start = time.monotonic()
        try:
            servable, options = loading.load(loaded, self._metrics)
        except StatusError as error:
            logging.error(
                "Loading %s version %d failed: %s", loaded.name, loaded.version, error.message
            )
            with self._changed:
                loaded.state, loaded.error, loaded.reserved = State.END, error, False
                loaded.retry_at = time.monotonic() + RETRY_SECONDS
                self._changed.notify_all()
            self._tell(loaded.name)
            raise
        logging.info(
            "Loaded %s version %d in %.1f s", loaded.name, loaded.version, time.monotonic() - start
        )
        with self._changed:
            loaded.servable, loaded.options, loaded.error = servable, options, None
            loaded.state, loaded.last_used = State.AVAILABLE, time.monotonic()
            self._changed.notify_all()
        self._tell(loaded.name)

    def _unload(self, loaded):
        """Closes a version for good, once the last call on it has ended."""
        with self._changed:
            self._changed.wait_for(lambda: loaded.state != State.LOADING and not loaded.evicting)
            loaded.state = State.UNLOADING
            self._changed.notify_all()
        self._tell(loaded.name)
        with self._changed:
            self._changed.wait_for(lambda: loaded.users == 0)
        self._close(loaded)
        with self._changed:
            loaded.state = State.END
            self._changed.notify_all()

    def _close(self, loaded):
        servable, loaded.servable = loaded.servable, None
        loaded.reserved = False
        if servable is not None:
            self._on_close(loaded)
            servable.close()
            logging.info("Unloaded %s version %d", loaded.name, loaded.version)

    def _tell(self, name):
        with self._telling:  # so that the last word is the latest
            self._on_change(name, self.registry.serving(name))

    def close(self):
        """Unloads everything, waiting for the calls under way."""
        with self._sync:
            self._configs = {}
            self._unload_others({})

    # -- use ----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def use(self, spec, deadline=None):
        """The Loaded a ModelSpec asks for, held open for the time of the block. Raises StatusError."""
        with self._changed:
            loaded = self.registry.find(spec)
            loaded.users += 1
        try:
            while loaded.state != State.AVAILABLE:
                self._wake(loaded, deadline)
            loaded.last_used = time.monotonic()
            yield loaded
        finally:
            with self._changed:
                loaded.users -= 1
                self._changed.notify_all()

    def _wake(self, loaded, deadline):
        """Loads a version on its first use: the first caller does it, the others wait."""
        with self._changed:
            if loaded.state == State.LOADING or loaded.evicting:
                self._wait(deadline, "the model was being loaded")
                return
            if loaded.state != State.START:
                gone = f"Servable not found for request: Specific({loaded.name}, {loaded.version})"
                raise loaded.error or not_found(gone)
            loaded.state = State.LOADING
        try:
            self._make_room(loaded, deadline)
        except StatusError:
            with self._changed:
                loaded.state = State.START
                self._changed.notify_all()
            raise
        self._load(loaded)

    def _wait(self, deadline, during):
        """Waits for a change, until `deadline`. Call it holding `_changed`."""
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise deadline_exceeded(f"the deadline passed while {during}")
        self._changed.wait(left)

    def _make_room(self, newcomer, deadline):
        """Reserves memory for `newcomer`, closing the least recently used idle versions where the cap demands it."""
        if self._memory_cap is None:
            return
        if newcomer.bytes > self._memory_cap:
            raise StatusError(
                Code.RESOURCE_EXHAUSTED,
                f"{newcomer.name} takes about {newcomer.bytes >> 20} MiB, the cap is {self._memory_cap >> 20} MiB",
            )
        while True:
            with self._changed:
                held = [one for one in self.registry.everyone() if one.reserved]
                if sum(one.bytes for one in held) + newcomer.bytes <= self._memory_cap:
                    newcomer.reserved = True
                    return
                idle = [one for one in held if one.users == 0 and one.state == State.AVAILABLE]
                if not idle:
                    self._wait(deadline, "the model waited for memory")
                    continue
                oldest = min(idle, key=lambda one: one.last_used)
                oldest.state, oldest.evicting = State.UNLOADING, True
            self._close(oldest)
            with self._changed:
                oldest.state, oldest.evicting = State.START, False
                self._changed.notify_all()
