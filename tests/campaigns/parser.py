"""A parser of foreign bytes as the fuzz campaign sees it, and first checks of common formats.

A parser takes the bytes of one input, most often by way of a file in an empty folder. It may refuse
them by one of `refusals`; anything else is a fault.
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
    """seeds: valid inputs. native: whether C libraries decode, so that memory is bounded too.

    guided: whether atheris drives it, by coverage of this project's Python, where it is installed.
    """

    seeds: Callable
    mutate: Callable
    parse: Callable
    passes: Callable
    native: bool = False
    guided: bool = False


def refusals():
    """The exceptions with which a parser may refuse an input."""
    from serving.status import StatusError

    return (TalkingHeadError, ConfigError, StatusError)


@contextlib.contextmanager
def file_of(name, data):
    """The path of a file `name` with the content `data`."""
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
    """Warnings of parsers are no news here."""
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
