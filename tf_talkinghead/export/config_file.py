"""Changes of publishing and deletion to <models>/models.config, TensorFlow Serving's model config.

serving/models_config.py writes the file and says what labels mean. This module only takes out
versions and people that are about to be removed from the disk, so that no server is told to load
them any more.
"""

import os
import pathlib

from google.protobuf import text_format

from tf_talkinghead.errors import InputError
from tf_talkinghead.export.locks import lock
from tf_talkinghead.files import write_atomically

CONFIG_FILE = "models.config"


def remove_config_entry(models: str | os.PathLike, person: str) -> bool:
    """Removes `person` from <models>/models.config; returns whether there was an entry."""
    path = pathlib.Path(models) / CONFIG_FILE
    if not path.exists():
        return False
    with lock(models, CONFIG_FILE, wait=True):
        config = _read_config(path)
        entries = config.model_config_list.config
        kept = [entry for entry in entries if entry.name != person]
        if len(kept) == len(entries):
            return False
        del entries[:]
        entries.extend(kept)
        write_atomically(path, text_format.MessageToString(config).encode())
    return True


def replace_in_config(
    models: str | os.PathLike, name: str, removed: list[int], instead: int | None
) -> None:
    """Takes versions of `name` out of <models>/models.config before they are removed.

    Servers are told to load version `instead`; None removes the entry. Labels of removed versions
    are removed, not moved: a server refuses a configuration that moves a label to a version it has
    not loaded yet.
    """
    if instead is None:
        remove_config_entry(models, name)
        return
    path = pathlib.Path(models) / CONFIG_FILE
    if not path.exists():
        return
    with lock(models, CONFIG_FILE, wait=True):
        config = _read_config(path)
        for entry in config.model_config_list.config:
            if entry.name != name:
                continue
            policy = entry.model_version_policy
            if policy.HasField("specific"):
                kept = {*policy.specific.versions, instead} - set(removed)
                policy.specific.versions[:] = sorted(kept)
            for label in [key for key, at in entry.version_labels.items() if at in removed]:
                del entry.version_labels[label]
        write_atomically(path, text_format.MessageToString(config).encode())


def versions_in_config(models: str | os.PathLike, person: str) -> set[int]:
    """The versions of `person` that models.config says to load or gives a label."""
    path = pathlib.Path(models) / CONFIG_FILE
    if not path.exists():
        return set()
    named = set()
    for entry in _read_config(path).model_config_list.config:
        if entry.name == person:
            named |= {*entry.model_version_policy.specific.versions, *entry.version_labels.values()}
    return named


def _read_config(path):
    """The ModelServerConfig of a models.config; InputError if it cannot be parsed."""
    from tensorflow_serving.config import model_server_config_pb2

    try:
        return text_format.Parse(path.read_text(), model_server_config_pb2.ModelServerConfig())
    except text_format.ParseError as error:
        raise InputError(f"{path}: not a TensorFlow Serving model config ({error})") from error
