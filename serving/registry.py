"""Registry of the versions that a server knows, and their lookup by request."""

import threading

from tensorflow_serving.apis import get_model_status_pb2

from serving.loading import State
from serving.status import invalid_argument, not_found

ENDED_KEPT = 8  # unloaded versions kept in a model's status


class Registry:
    """Versions (model name -> version -> Loaded) and labels.

    The condition `changed` guards all fields; it is notified when a call ends.
    """

    def __init__(self):
        self.changed = threading.Condition()
        self.models = {}  # models no longer configured are kept with their versions in state END
        self.labels = {}  # model name -> {label: version}

    def serving(self, name):
        """Whether the model has an available version."""
        with self.changed:
            return any(_available(loaded) for loaded in self.models.get(name, {}).values())

    def find(self, spec):
        """The Loaded of a ModelSpec, the latest if it names no version; call it holding `changed`.

        Raises:
          StatusError: there is no such model, label or available version.
        """
        known = self.models.get(spec.name, {})
        choice = spec.WhichOneof("version_choice")
        if choice is None:
            version = max((one.version for one in known.values() if _available(one)), default=None)
        else:
            version = self._version(spec)
        loaded = known.get(version)
        if loaded is None or not _available(loaded):
            asked = (
                f"Latest({spec.name})" if choice is None else f"Specific({spec.name}, {version})"
            )
            raise not_found(f"Servable not found for request: {asked}")
        return loaded

    def _version(self, spec):
        """The version that a ModelSpec names by number or label."""
        if spec.WhichOneof("version_choice") == "version":
            return spec.version.value
        version = self.labels.get(spec.name, {}).get(spec.version_label)
        if version is None:
            raise invalid_argument(f"Unrecognized servable version label: {spec.version_label}")
        return version

    def status(self, spec):
        """The GetModelStatusResponse for a ModelSpec, newest version first.

        Raises:
          StatusError: NOT_FOUND for an unknown model or version.
        """
        response = get_model_status_pb2.GetModelStatusResponse()
        with self.changed:
            known = self.models.get(spec.name, {})
            wanted = sorted(known, reverse=True)
            if spec.WhichOneof("version_choice") is not None:
                version = self._version(spec)
                if version not in known:
                    raise not_found(f"Could not find version {version} of model {spec.name}")
                wanted = [version]
            if not wanted:
                raise not_found(f"Could not find any versions of model {spec.name}")
            for version in wanted:
                row = response.model_version_status.add(version=version, state=known[version].state)
                row.status.SetInParent()
                error = known[version].error
                if error is not None:
                    row.status.error_code, row.status.error_message = (
                        error.code.value[0],
                        error.message,
                    )
        return response

    def forget_ended(self, name):
        """Drops all but the newest unloaded versions of a model, to bound memory."""
        with self.changed:
            known = self.models[name]
            ended = sorted(version for version, one in known.items() if one.state == State.END)
            for version in ended[:-ENDED_KEPT]:
                del known[version]


def _available(loaded):
    return loaded.state == State.AVAILABLE
