"""Files on disk: atomic writes, fsync and SHA-256 digests. The only owner of all three.

A file written here is there whole or not at all: it is written beside under a hidden name, flushed
to the disk and renamed into place, so a reader, a crash or a full disk leaves the old file or the
new one.
"""

import contextlib
import hashlib
import os
import pathlib
import tempfile

import numpy as np

from tf_talkinghead.errors import InputError


def write_atomically(path: str | os.PathLike, content: bytes) -> None:
    """Replace `path` by `content` in one rename; folders above it are made.

    Raises:
      InputError: the folder cannot be written to or the disk is full; nothing has changed then.
    """
    path = pathlib.Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            flush(file)
        os.chmod(temporary, 0o644)
        os.rename(temporary, path)
    except BaseException as error:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        if isinstance(error, OSError):
            raise InputError(
                f"{path}: cannot write ({error.strerror}); nothing is lost: make room and start "
                "again"
            ) from error
        raise
    fsync(path.parent)


def flush(file) -> None:
    """Force what was written to an open `file` onto the disk."""
    file.flush()
    os.fsync(file.fileno())


def fsync(path: str | os.PathLike) -> None:
    """Force a file, or the names in a folder, onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_tree(folder: str | os.PathLike) -> None:
    """`fsync` of everything in `folder`, innermost first, then of itself."""
    for path in sorted(pathlib.Path(folder).rglob("*"), reverse=True):
        fsync(path)
    fsync(folder)


def sha256(content: bytes) -> str:
    """Hexadecimal digest of bytes."""
    return hashlib.sha256(content).hexdigest()


def file_sha256(path: str | os.PathLike) -> str:
    """Hexadecimal digest of a file, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def arrays_sha256(arrays) -> str:
    """One hexadecimal digest over numpy arrays in order: dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(array)
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
