"""`models.config`: which people are served, in TensorFlow Serving's own model config format.

Everyone published under a models folder gets an entry with two version labels: `canary` is the newest version and
`stable` the one production callers name. `stable` stays where it is until somebody moves it (`promote`, `pin`), so
publishing changes nothing for callers of `stable`; exactly the versions that labels need are loaded.

TensorFlow Serving refuses a configuration that moves a label to a version which is not loaded yet, and it looks at the
labels before it loads anything. So a moving label takes two writes: the first lets the version load, the second moves
the label. `update` does what is possible now and says what it left for the next time.
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


def names_in(models_dir):
    """Names under `models_dir` that have a published version, sorted; the bank among them."""
    if not os.path.isdir(models_dir):
        raise InputError(f"{models_dir}: not a folder; publish somebody there first")
    names = store.people(models_dir)
    if store.versions(models_dir, store.BANK):
        names.append(store.BANK)
    return sorted(names)


def build(models_dir, previous=None, promote=(), pin=None, served_from=None, staged=False):
    """The ModelServerConfig for everyone under `models_dir`.

    Args:
      models_dir: folder of `<person>/<version>/`.
      previous: the ModelServerConfig in force, whose `stable` labels are kept where their version still exists.
      promote: names whose `stable` moves to the newest version, or ("all",).
      pin: name -> version that `stable` moves to.
      served_from: the folder as the server sees it (a container's mount); default the absolute `models_dir`.
      staged: labels move only to versions that `previous` lets load.
    """
    root = served_from or os.path.abspath(models_dir)
    names, pin = names_in(models_dir), pin or {}
    unknown = (set(promote) | set(pin)) - set(names) - {"all"}
    if unknown:
        raise InputError(
            f"nobody called {', '.join(sorted(unknown))} is published under {models_dir}"
        )
    before = (
        {model.name: model for model in previous.model_config_list.config}
        if previous is not None
        else {}
    )
    config = model_server_config_pb2.ModelServerConfig()
    config.model_config_list.SetInParent()
    for name in names:
        on_disk = set(store.versions(models_dir, name))
        old = before.get(name, model_server_config_pb2.ModelConfig())
        promoted = name in promote or "all" in promote
        wanted = _wanted(name, on_disk, old.version_labels.get("stable"), promoted, pin.get(name))
        labels = _movable(wanted, old) if staged else wanted
        model = config.model_config_list.config.add(
            name=name, base_path=f"{root}/{name}", model_platform=versions.PLATFORM
        )
        needed = {*wanted.values(), *labels.values()} & on_disk
        model.model_version_policy.specific.versions.extend(sorted(needed))
        model.version_labels.update(labels)
    return config


def _wanted(name, on_disk, stable, promoted, pinned):
    """Where the labels of one person should point."""
    if pinned is not None and pinned not in on_disk:
        raise InputError(
            f"{name}: there is no version {pinned}, only {', '.join(map(str, sorted(on_disk)))}"
        )
    canary = max(on_disk)
    if pinned is not None:
        stable = pinned
    elif promoted or stable not in on_disk:
        stable = canary
    return {"stable": stable, "canary": canary}


def _movable(wanted, old):
    """`wanted`, but a label that exists stays where it is if its new version is not among those being served."""
    served = set(old.model_version_policy.specific.versions)
    return {
        label: version if version in served else old.version_labels.get(label, version)
        for label, version in wanted.items()
    }


def read_if_there(models_dir):
    """The models.config in `models_dir`, or None; InputError where it does not parse."""
    path = pathlib.Path(models_dir) / FILE_NAME
    if not path.is_file():
        return None
    return config_protos.parse_file(path, model_server_config_pb2.ModelServerConfig)


def update(models_dir, promote=(), pin=None, served_from=""):
    """Writes `<models_dir>/models.config` anew, in one step.

    Returns its path, the ModelServerConfig, and what must wait for another `update` until the server has loaded it:
    a list of (name, label, version).
    """
    names_in(models_dir)
    path = pathlib.Path(models_dir) / FILE_NAME
    with store.lock(models_dir, FILE_NAME, wait=True):
        previous = read_if_there(models_dir)
        config = build(models_dir, previous, promote, pin, served_from, staged=True)
        files.write_atomically(path, text_format.MessageToString(config).encode())
    wanted = build(models_dir, previous, promote, pin, served_from)
    waiting = []
    for now, then in zip(config.model_config_list.config, wanted.model_config_list.config):
        for label, version in sorted(then.version_labels.items()):
            if now.version_labels[label] != version:
                waiting.append((now.name, label, version))
    return path, config, waiting
