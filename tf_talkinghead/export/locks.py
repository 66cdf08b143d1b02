"""Locks between processes: the holder of <models>/.locks/NAME alone works on NAME."""

import contextlib
import fcntl
import os
import pathlib
from collections.abc import Iterator

from tf_talkinghead.errors import InputError


@contextlib.contextmanager
def lock(models: str | os.PathLike, name: str, wait: bool = False) -> Iterator[None]:
    """Holds the lock on `name`; the lock of a killed process is free again.

    Args:
      models: folder of all models.
      name: what is locked, a person or a file.
      wait: whether to wait while another process holds the lock.

    Raises:
      InputError: another process holds the lock, and `wait` is false.
    """
    folder = pathlib.Path(models) / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        file = open(folder / name, "w")  # noqa: SIM115 (closed below)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            file.close()
            raise InputError(
                f"{name}: another process is working on it in {models}; wait for it to end"
            ) from None
        if _is_current(file, folder / name):
            break
        # The former holder removed the person together with this lock file: try again with a new
        # one.
        file.close()
    with file:
        yield


def _is_current(file, path):
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False
