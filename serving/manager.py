"""Model manager: loads, swaps and unloads versions according to configuration and folders.

A new version is loaded and warmed up before it becomes the latest, and an old one is closed only
after the last call on it has ended, so no request fails during a swap.
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
      on_change: called with (model name, whether it is available) when that may have changed.
      on_close: called with a Loaded before it is closed.
      loose_labels: whether a new label may point at a version that is not available yet.
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
        """Applies a configuration: loads and unloads versions and moves labels.

        Labels are checked first, as in TensorFlow Serving: they may only point at a version that is
        available (or, with `loose_labels`, be new).

        Args:
          config: ModelServerConfig.
          labels_follow: move labels after loading and before unloading instead, as needed by a
            server that writes its own configuration.

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
        """Checks the folders: loads new versions and unloads removed ones."""
        with self._sync:
            self._unload_others(self._load_aspired())

    def ready(self):
        """Whether every configured model has an available version."""
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
        """Loads the versions that the policies select; returns model name -> versions to keep."""
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
                    # If no new version works, the newest old one is kept.
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
        """Closes a version after the last call on it has ended."""
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
        with self._telling:  # so that notifications arrive in order
            self._on_change(name, self.registry.serving(name))

    def close(self):
        """Unloads all versions after their calls have ended."""
        with self._sync:
            self._configs = {}
            self._unload_others({})

    # -- use -------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def use(self, spec):
        """Context manager that yields the Loaded of a ModelSpec and keeps it open for the block.

        The version is chosen and held under one lock, so that a swap that begins to unload it at
        that moment cannot fail the call.

        Raises:
          StatusError: there is no such model, label or version.
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
