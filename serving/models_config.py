"""`models.config`: the served models and their labels, in TensorFlow Serving's config format.

Every model published under a models folder gets an entry with two version labels: `canary` is the
newest version, `stable` the one that production callers use. `stable` is moved explicitly, so
publishing does not affect callers of `stable`. Only versions with a label are loaded.

TensorFlow Serving checks labels before it loads anything: a configuration that moves a label to a
version that is not loaded is refused as a whole, at every poll, and the version is never loaded. An
existing label is therefore moved only after the server has confirmed that the version is loaded,
by `rollout.py`. The functions here do not ask a server: they let versions load and leave existing
labels unchanged.
"""

import os
import pathlib

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving import config_protos, versions
from tf_talkinghead import files
from tf_talkinghead.errors import InputError
from tf_talkinghead.export import store

FILE_NAME = store.CONFIG_FILE
STABLE, CANARY = "stable", "canary"


def names_in(models_dir):
    """Sorted names of the models with a published version under `models_dir`, including the bank.

    Raises:
      InputError: `models_dir` is not a folder.
    """
    if not os.path.isdir(models_dir):
        raise InputError(f"{models_dir}: not a folder; publish somebody there first")
    names = store.people(models_dir)
    if store.versions(models_dir, store.BANK):
        names.append(store.BANK)
    return sorted(names)


def wanted_labels(models_dir, previous=None, promote=(), pin=None, retire=None):
    """The versions that the labels of all models should point at.

    Args:
      models_dir: folder of `<person>/<version>/`.
      previous: the ModelServerConfig in force, whose `stable` labels are kept where their version
        still exists.
      promote: names whose `stable` moves to the newest version, or ("all",).
      pin: name -> version that `stable` moves to.
      retire: name -> version that no label may point at.

    Returns:
      {name: {label: version}}.

    Raises:
      InputError: an unknown name or version, or `stable` points at the version to retire.
    """
    names, pin, retire = names_in(models_dir), pin or {}, retire or {}
    unknown = (set(promote) | set(pin) | set(retire)) - set(names) - {"all"}
    if unknown:
        raise InputError(
            f"nobody called {', '.join(sorted(unknown))} is published under {models_dir}"
        )
    before = {name: labels.get(STABLE) for name, labels in labels_of(previous).items()}
    wanted = {}
    for name in names:
        on_disk = set(store.versions(models_dir, name))
        for version in (pin.get(name), retire.get(name)):
            if version is not None and version not in on_disk:
                listed = ", ".join(map(str, sorted(on_disk)))
                raise InputError(f"{name}: there is no version {version}, only {listed}")
        left = on_disk - {retire.get(name)}
        if not left:
            raise InputError(
                f"{name}: version {retire[name]} is the only one; scripts.export --delete={name} "
                "removes the person"
            )
        stable = pin.get(name, before.get(name))
        if name in promote or "all" in promote or stable not in on_disk:
            stable = max(left)
        if stable not in left:
            raise InputError(
                f"{name}: {STABLE} points at version {stable}, which is to be retired; move it "
                "first: "
                f"--pin={name}={max(left)}"
            )
        wanted[name] = {STABLE: stable, CANARY: max(left)}
    return wanted


def config_of(models_dir, labels, served_from="", loaded=None):
    """Builds a ModelServerConfig.

    Args:
      models_dir: folder of `<person>/<version>/`.
      labels: name -> {label: version}.
      served_from: path of the folder on the server (a container's mount); default: the absolute
        path of `models_dir`.
      loaded: name -> versions to load in addition to those with a label.
    """
    root = served_from or os.path.abspath(models_dir)
    config = model_server_config_pb2.ModelServerConfig()
    config.model_config_list.SetInParent()
    for name, where in sorted(labels.items()):
        model = config.model_config_list.config.add(
            name=name, base_path=f"{root}/{name}", model_platform=versions.PLATFORM
        )
        needed = {*where.values(), *(loaded or {}).get(name, ())}
        on_disk = set(store.versions(models_dir, name))
        model.model_version_policy.specific.versions.extend(sorted(needed & on_disk))
        model.version_labels.update(where)
    return config


def build(models_dir, previous=None):
    """Builds the ModelServerConfig for a server that loads versions before moving labels.

    The embedded server does so.
    """
    return config_of(models_dir, wanted_labels(models_dir, previous))


def labels_of(config):
    """name -> {label: version} of a ModelServerConfig or None."""
    if config is None:
        return {}
    return {model.name: dict(model.version_labels) for model in config.model_config_list.config}


def path_in(models_dir):
    """The path of the models.config of `models_dir`."""
    return pathlib.Path(models_dir) / FILE_NAME


def served_from(models_dir):
    """The path of the models folder on the servers, as models.config has it; "" without one."""
    config = read_if_there(models_dir)
    for model in config.model_config_list.config if config else ():
        return model.base_path.removesuffix(f"/{model.name}")
    return ""


def read_if_there(models_dir):
    """The models.config in `models_dir`, None if there is none; InputError if it is malformed."""
    path = path_in(models_dir)
    if not path.is_file():
        return None
    return config_protos.parse_file(path, model_server_config_pb2.ModelServerConfig)


def write(models_dir, config):
    """Atomically replaces `<models_dir>/models.config` if its content changes."""
    if config != read_if_there(models_dir):
        content = text_format.MessageToString(config).encode()
        files.write_atomically(path_in(models_dir), content)


def update(models_dir, promote=(), pin=None, served_from=""):
    """Writes models.config without asking a server: existing labels are left unchanged.

    Returns:
      (path, ModelServerConfig, label moves left to `rollout.roll_out` as [(name, label, version)]).
    """
    names_in(models_dir)
    with store.lock(models_dir, FILE_NAME, wait=True):
        previous = read_if_there(models_dir)
        wanted = wanted_labels(models_dir, previous, promote, pin)
        before = labels_of(previous)
        now = {
            name: {label: before.get(name, {}).get(label, to) for label, to in labels.items()}
            for name, labels in wanted.items()
        }
        to_load = {name: set(labels.values()) for name, labels in wanted.items()}
        config = config_of(models_dir, now, served_from, to_load)
        write(models_dir, config)
    left = [
        (name, label, version)
        for name, labels in wanted.items()
        for label, version in sorted(labels.items())
        if now[name][label] != version
    ]
    return path_in(models_dir), config, left
