"""Every version a server knows of, and which of them a request means."""

import threading

from tensorflow_serving.apis import get_model_status_pb2

from serving.loading import State
from serving.status import invalid_argument, not_found

ENDED_KEPT = 8  # ended versions a model's status still tells of


class Registry:
    """Model name -> version -> Loaded, and the labels.

    `changed` guards it all; the end of a call notifies it.
    """

    def __init__(self):
        self.changed = threading.Condition()
        self.models = {}  # models that are no longer configured stay, ended
        self.labels = {}  # model name -> {label: version}

    def serving(self, name):
        """Whether some version of the model answers."""
        with self.changed:
            return any(_available(loaded) for loaded in self.models.get(name, {}).values())

    def find(self, spec):
        """The Loaded a ModelSpec asks for, the latest where it names none.

        Raises StatusError. Call it holding `changed`.
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
        """The version number a ModelSpec names, itself or by label."""
        if spec.WhichOneof("version_choice") == "version":
            return spec.version.value
        version = self.labels.get(spec.name, {}).get(spec.version_label)
        if version is None:
            raise invalid_argument(f"Unrecognized servable version label: {spec.version_label}")
        return version

    def status(self, spec):
        """The GetModelStatusResponse for a ModelSpec, newest version first.

        NOT_FOUND where nothing is known of it.
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
        """Drops all but the newest few ended versions, so that a long life does not grow."""
        with self.changed:
            known = self.models[name]
            ended = sorted(version for version, one in known.items() if one.state == State.END)
            for version in ended[:-ENDED_KEPT]:
                del known[version]


def _available(loaded):
    return loaded.state == State.AVAILABLE
