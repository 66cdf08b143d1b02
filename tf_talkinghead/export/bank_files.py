"""Member file of a bank version, `<models>/bank/<version>/vectors.npz`: its writer and its reader.

    bank           uint8 [n], JSON: {"schema", "version", "generator"}
    vector/NAME    float16 [A], the AdaIN vector of the member NAME
    card/NAME      uint8 [n], JSON: the member's card, since a bank has no `describe` of each person

The file names the version it lies in and the generator its vectors belong to, so that a copy can be
told to be of another version. Reading one member reads that member only. This module does not
import TensorFlow: clients use it.
"""

import contextlib
import dataclasses
import io
import json
import os
import pathlib

import numpy as np

from tf_talkinghead import files
from tf_talkinghead.errors import InputError

VECTORS_FILE = "vectors.npz"
# Where version 0.1 kept vectors and cards, at the top of the models folder.
LEGACY_FILES = ("bank.vectors.npz", "bank.cards.json")
PUBLISH_COMMAND = "python -m scripts.export --models=MODELS --bank --weights=WEIGHTS"

_SCHEMA = 1


@dataclasses.dataclass
class Members:
    """The people in one bank version.

    Attributes:
      version: the number of the bank version.
      generator: SHA-256 of the weights file its generator was read from.
      vectors: name -> float16 [A].
      cards: name -> the person's card.
    """

    version: int
    generator: str
    vectors: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    cards: dict[str, dict] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Member:
    """One person in one bank version; the fields as in `Members`."""

    version: int
    generator: str
    vector: np.ndarray
    card: dict


def write_members(path: str | os.PathLike, members: Members) -> None:
    """Replaces the member file at `path` in one rename."""
    header = {
        "schema": _SCHEMA,
        "version": members.version,
        "generator": members.generator,
    }
    arrays = {"bank": _from_json(header)}
    for name, vector in members.vectors.items():
        arrays[f"vector/{name}"] = np.asarray(vector, np.float16)
        arrays[f"card/{name}"] = _from_json(members.cards[name])
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    files.write_atomically(pathlib.Path(path), buffer.getvalue())


def read_members(path: str | os.PathLike) -> Members:
    """Reads every member of the file at `path`; InputError if it is not a member file."""
    with _opened(path) as (stored, members):
        for name in _names(stored):
            members.vectors[name] = stored[f"vector/{name}"]
            members.cards[name] = _to_json(stored[f"card/{name}"])
        return members


def read_member(path: str | os.PathLike, person: str) -> Member:
    """Reads the member `person` of the file at `path`.

    Raises:
      InputError: nobody of that name is in the file, or it is not a member file.
    """
    with _opened(path) as (stored, members):
        names = _names(stored)
        if person not in names:
            raise InputError(
                f"{path}: nobody called {person!r} in version {members.version} of the bank; "
                f"it holds {', '.join(names) or 'nobody'}"
            )
        vector = stored[f"vector/{person}"].astype(np.float16)
        card = _to_json(stored[f"card/{person}"])
        return Member(members.version, members.generator, vector, card)


@contextlib.contextmanager
def _opened(path):
    """Yields (open archive, `Members` with its header); InputError for an unusable file."""
    try:
        with files.ArrayFile(path) as stored:
            if "bank" not in stored.names:
                raise InputError(
                    f"{path}: a bank of version 0.1, whose vectors do not say which generator they "
                    f"belong to; publish it again: {PUBLISH_COMMAND}, and name {VECTORS_FILE} of a "
                    "version, or the folder MODELS/bank"
                )
            header = _to_json(stored["bank"])
            if header["schema"] != _SCHEMA:
                raise InputError(
                    f"{path}: expected schema {_SCHEMA}, got {header['schema']}: another version "
                    f"of this project wrote it; publish the bank again: {PUBLISH_COMMAND}"
                )
            yield stored, Members(int(header["version"]), str(header["generator"]))
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: not the vectors of a bank ({error}); name MODELS/bank, or {VECTORS_FILE} of "
            f"one of its versions; a damaged bank is published again: {PUBLISH_COMMAND}"
        ) from error


def _names(stored):
    return sorted(key[len("vector/") :] for key in stored.names if key.startswith("vector/"))


def _from_json(value):
    return np.frombuffer(json.dumps(value, allow_nan=False).encode(), np.uint8)


def _to_json(array):
    return files.parse_json(array.tobytes())
