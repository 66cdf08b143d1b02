"""`models.config`: which people are served, in TensorFlow Serving's own model config format.

Everyone published under a models folder gets an entry with two version labels: `canary` is the newest version and
`stable` the one production callers name. `stable` stays where it is until somebody moves it (`promote`), so
publishing changes nothing for callers of `stable`; exactly the labelled versions are loaded.
"""

import os
import pathlib

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving import config_protos, versions
from tf_talkinghead import publishing
from tf_talkinghead.errors import InputError

FILE_NAME = publishing.CONFIG_FILE


def names_in(models_dir):
    """Names under `models_dir` that have a published version, sorted; the bank among them."""
    if not os.path.isdir(models_dir):
        raise InputError(f"{models_dir}: not a folder; publish somebody there first")
    return sorted(publishing.people(models_dir) + [publishing.BANK] * bool(publishing.versions(models_dir, publishing.BANK)))


def build(models_dir, previous=None, promote=(), served_from=None):
    """The ModelServerConfig for everyone under `models_dir`.

    Args:
      models_dir: folder of `<person>/<version>/`.
      previous: the ModelServerConfig in force, whose `stable` labels are kept where their version still exists.
      promote: names whose `stable` moves to the newest version, or ("all",).
      served_from: the folder as the server sees it (a container's mount); default the absolute `models_dir`.
    """
    root = served_from or os.path.abspath(models_dir)
    stable_before = {}
    if previous is not None:
        stable_before = {model.name: model.version_labels.get("stable") for model in previous.model_config_list.config}
    names = names_in(models_dir)
    unknown = set(promote) - set(names) - {"all"}
    if unknown:
        raise InputError(f"promote: nobody called {', '.join(sorted(unknown))} under {models_dir}")
    config = model_server_config_pb2.ModelServerConfig()
    config.model_config_list.SetInParent()
    for name in names:
        on_disk = versions.versions_on_disk(os.path.join(models_dir, name))
        canary = max(on_disk)
        stable = stable_before.get(name)
        if stable not in on_disk or name in promote or "all" in promote:
            stable = canary
        model = config.model_config_list.config.add(
            name=name, base_path=f"{root}/{name}", model_platform=versions.PLATFORM
        )
        model.model_version_policy.specific.versions.extend(sorted({stable, canary}))
        model.version_labels["stable"] = stable
        model.version_labels["canary"] = canary
    return config


def read_if_there(models_dir):
    """The models.config in `models_dir`, or None; InputError where it does not parse."""
    path = pathlib.Path(models_dir) / FILE_NAME
    if not path.is_file():
        return None
    return config_protos.parse_file(path, model_server_config_pb2.ModelServerConfig)


def update(models_dir, promote=(), served_from=""):
    """Writes `<models_dir>/models.config` anew, in one step; returns (its path, the ModelServerConfig)."""
    names_in(models_dir)
    path = pathlib.Path(models_dir) / FILE_NAME
    with publishing.lock(models_dir, FILE_NAME, wait=True):
        config = build(models_dir, read_if_there(models_dir), promote, served_from)
        publishing.write_atomically(path, text_format.MessageToString(config).encode())
    return path, config
