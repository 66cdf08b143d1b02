"""Loads, swaps and unloads model versions, as the configuration and the folders ask for.

A new version is loaded and warmed up before it becomes the latest, and an old one is closed only
when the last call on it has ended, so a swap fails no request.
"""

import contextlib
import threading
import time

from absl import logging

from serving import loading, versions
from serving.loading import State
from serving.registry import Registry
from serving.status import Code, StatusError, failed_precondition

LOAD_RETRIES = 5  # TensorFlow Serving's --max_num_load_retries
RETRY_SECONDS = 60.0  # its --load_retry_interval_micros


class Manager:
    """All models of one server.

    Args:
      metrics: the server's Metrics.
      on_change: called with (model name, whether it answers) when that may have changed.
      on_close: called with the Loaded about to be closed.
      loose_labels: a new label may point at a version that is not available yet.
    """

    def __init__(self, metrics, on_change=None, on_close=None, loose_labels=False):
        self.registry = Registry()
        self._metrics = metrics
        self._on_change = on_change or (lambda name, serving: None)
        self._on_close = on_close or (lambda loaded: None)
        self._loose_labels = loose_labels
        self._configs = {}  # model name -> ModelConfig
        self._changed = self.registry.changed
        self._sync = threading.RLock()  # one reload or poll at a time
        self._telling = threading.Lock()

    # -- configuration ---------------------------------------------------------------------------

    def reload(self, config, labels_follow=False):
        """Makes `config` (ModelServerConfig) the configuration and loads and unloads what that
        takes.

        Labels are checked first, as TensorFlow Serving does: one may only point at a version that
        is available (or, with `loose_labels`, be new). With `labels_follow` they move after loading
        and before unloading instead, which is what a server needs that writes its own
        configuration.

        Raises:
          StatusError: the configuration or a label is refused; UNKNOWN where a new model has no
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
        """Reads the folders again: loads what is new, unloads what has gone."""
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
                available = loaded is not None and loaded.state == State.AVAILABLE
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
        """Loads the version unless it is loaded, or has failed and its next attempt is not due."""
        with self._changed:
            known = self.registry.models.setdefault(name, {})
            loaded = known.get(version)
            if loaded is None or (loaded.state == State.END and loaded.error is None):
                loaded = known[version] = loading.Loaded(name, version, path)
            elif (
                loaded.state != State.END
                or loaded.attempts > LOAD_RETRIES
                or time.monotonic() < loaded.retry_at
            ):
                return
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
                    # no new version works: the newest old one stays
                    leaving.remove(max(leaving, key=lambda one: one.version))
            for loaded in leaving:
                self._unload(loaded)
            self.registry.forget_ended(name)

    def _why_missing(self, name):
        known = self.registry.models.get(name, {})
        for version in sorted(known, reverse=True):
            if known[version].error is not None:
                return f"version {version}: {known[version].error.message}"
        return f"no versions found under {self._configs[name].base_path}"

    # -- loading and unloading -------------------------------------------------------------------

    def _load(self, loaded):
        """Loads one version; a failure is logged and becomes the version's status."""
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
                loaded.state, loaded.error = State.END, error
                loaded.retry_at = time.monotonic() + RETRY_SECONDS
        else:
            took = time.monotonic() - start
            logging.info("Loaded %s version %d in %.1f s", loaded.name, loaded.version, took)
            with self._changed:
                loaded.servable, loaded.options, loaded.error = servable, options, None
                loaded.state = State.AVAILABLE
        self._tell(loaded.name)

    def _unload(self, loaded):
        """Closes a version for good, once the last call on it has ended."""
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
            loaded.state = State.END

    def _tell(self, name):
        with self._telling:  # so that the last word is the latest
            self._on_change(name, self.registry.serving(name))

    def close(self):
        """Unloads everything, waiting for the calls under way."""
        with self._sync:
            self._configs = {}
            self._unload_others({})

    # -- use -------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def use(self, spec):
        """The Loaded that a ModelSpec asks for, held open for the time of the block. Raises
        StatusError.

        Choosing and holding are one step under the lock: a version that has been chosen answers,
        even if a swap begins to unload it in the next moment.
        """
        with self._changed:
            loaded = self.registry.find(spec)
            loaded.users += 1
        try:
            yield loaded
        finally:
            with self._changed:
                loaded.users -= 1
                self._changed.notify_all()
