"""Version policy: the versions in a folder to load, as in TensorFlow Serving."""

import os

from serving.status import invalid_argument

PLATFORM = "tensorflow"


def versions_on_disk(base_path):
    """Finds the folders under `base_path` whose name is a plain integer.

    A version that is being published has a name that begins with "." and is ignored.

    Returns:
      {version: path}; empty if `base_path` does not exist.
    """
    found = {}
    try:
        entries = list(os.scandir(base_path))
    except OSError:
        return found
    for entry in entries:
        if entry.name.isascii() and entry.name.isdigit() and entry.is_dir():
            found[int(entry.name)] = entry.path
    return found


def aspired_versions(policy, on_disk):
    """The versions of `on_disk` that a ServableVersionPolicy selects; by default the newest."""
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return set(on_disk)
    if choice == "specific":
        return set(policy.specific.versions) & set(on_disk)
    count = policy.latest.num_versions or 1
    return set(sorted(on_disk)[-count:])


def check_config(config):
    """Raises INVALID_ARGUMENT for a ModelServerConfig that TensorFlow Serving refuses."""
    if config.WhichOneof("config") == "custom_model_config":
        raise invalid_argument(
            "ServerModelConfig type not supported by HandleReloadConfigRequest. "
            "Only ModelConfigList is currently supported"
        )
    seen = set()
    for model in config.model_config_list.config:
        if not model.name:
            raise invalid_argument("Model config has no name specified.")
        if model.name in seen:
            raise invalid_argument(
                f"Illegal to list model {model.name} multiple times in config list"
            )
        seen.add(model.name)
        if model.model_platform != PLATFORM:
            raise invalid_argument(
                f"Model {model.name} requests unsupported platform {model.model_platform}"
            )
        if not os.path.isabs(model.base_path):
            raise invalid_argument(
                f"Expected model {model.name} to have an absolute path or URI; got "
                f"base_path()={model.base_path}"
            )
        if (
            model.model_version_policy.HasField("specific")
            and not model.model_version_policy.specific.versions
        ):
            raise invalid_argument(
                f"Model {model.name}: a specific version policy must name at least one version"
            )
