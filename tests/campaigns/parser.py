"""A parser of foreign bytes as the fuzz campaign sees it, and first checks of common formats.

A parser gets the bytes of one input, mostly as a file in an empty folder. It may refuse them with
an exception of `refusals`; any other exception is a fault.
"""

import contextlib
import dataclasses
import io
import json
import pathlib
import tempfile
import warnings
import zipfile
from collections.abc import Callable

import numpy as np

from tf_talkinghead.config import ConfigError
from tf_talkinghead.errors import TalkingHeadError


@dataclasses.dataclass(frozen=True)
class Parser:
    """A parser and its inputs.

    Attributes:
      seeds: `seeds()` returns valid inputs, a list of bytes.
      mutate: `mutate(rng, data)` returns a mutation of an input, as bytes.
      parse: `parse(data)` parses one input.
      passes: `passes(data)` is whether the input passes the first check of its format.
      guided: whether atheris, where it is installed, guides the mutations by coverage of this
        project's Python.
    """

    seeds: Callable
    mutate: Callable
    parse: Callable
    passes: Callable
    guided: bool = False


def refusals():
    """The exceptions by which a parser may refuse an input, as a tuple."""
    from serving.status import StatusError

    return (TalkingHeadError, ConfigError, StatusError)


@contextlib.contextmanager
def file_of(name, data):
    """The path of a file `name` with the content `data`, alone in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        path = pathlib.Path(folder) / name
        path.write_bytes(data)
        yield path


def is_json(data):
    try:
        return isinstance(json.loads(data), (dict, list))
    except (ValueError, RecursionError):
        return False


def is_archive(data):
    try:
        zipfile.ZipFile(io.BytesIO(data))
        return True
    except Exception:
        return False


def is_proto(message_class):
    from google.protobuf.message import DecodeError

    def passes(data):
        try:
            message_class.FromString(data)
            return True
        except DecodeError:
            return False

    return passes


def quiet():
    """Turns warnings off: parsers of damaged input give many."""
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
