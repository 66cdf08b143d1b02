"""Locks between processes: <models>/.locks/NAME, one process at a time works on NAME."""

import contextlib
import fcntl
import os
import pathlib
from collections.abc import Iterator

from tf_talkinghead.errors import InputError


@contextlib.contextmanager
def lock(models: str | os.PathLike, name: str, wait: bool = False) -> Iterator[None]:
    """Holds the lock on `name`, which a killed holder frees.

    wait: for the holder to end; where it is false, a taken lock is an InputError.
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
        # The former holder removed the person and the lock file: what was locked is no longer
        # there.
        file.close()
    with file:
        yield


def _is_current(file, path):
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False
