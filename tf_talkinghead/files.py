"""Files on disk: atomic writes, fsync, SHA-256 digests, and reading of archives and JSON.

A write is atomic: the content goes to a file with a hidden name in the same folder, is flushed to
the disk, and the file is renamed. After a crash or on a full disk the path holds either the old
file or the new one. What a killed writer left is taken over by the next one of the same path.

Archives of arrays (.npz) and JSON may come from other people, so they may be damaged or malicious:
whatever numpy, zipfile or json raise, the error here is `Damaged`.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import tokenize
import zipfile
import zlib

import numpy as np

from tf_talkinghead.errors import InputError

# What numpy, zipfile and zlib raise for damaged archives.
_UNREADABLE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    KeyError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
# An archive may unpack to _UNPACKED bytes plus _TIMES its own size. Compression hardly shrinks
# weights, and crops of plain pictures to a tenth; a decompression bomb unpacks to a thousand times
# its size.
_UNPACKED, _TIMES = 256 << 20, 50


class Damaged(ValueError):
    """A file's content cannot be read; the message says why, in one line."""


class ArrayFile:
    """An open .npz archive: `names`, and `archive[name]` for one array. A context manager.

    Args:
      source: a path, or a binary file.

    Raises:
      Damaged: not such an archive, or a decompression bomb; from `archive[name]`, an array that
        cannot be read.
      FileNotFoundError: there is no such file.
    """

    def __init__(self, source):
        try:
            # One array alone (.npy) has no names; objects would be pickles.
            self._stored = np.load(source, allow_pickle=False)
            members = self._stored.zip.infolist()
            self.names = list(self._stored.files)
        except FileNotFoundError:
            raise
        except _UNREADABLE as error:
            raise Damaged(f"not an archive of arrays: {_one_line(error)}") from error
        unpacked = sum(member.file_size for member in members)
        packed = sum(member.compress_size for member in members)
        if unpacked > _UNPACKED + _TIMES * packed:
            self._stored.close()
            raise Damaged(f"a decompression bomb: {packed} bytes would unpack to {unpacked}")

    def __getitem__(self, name):
        try:
            array = self._stored[name]
        except _UNREADABLE as error:
            raise Damaged(f"{name}: {_one_line(error)}") from error
        if not isinstance(array, np.ndarray):  # a member that is no array
            raise Damaged(f"{name}: not an array")
        return array

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._stored.close()


def parse_json(text: str | bytes):
    """The value of JSON text; `Damaged` for text that is not JSON or is nested too deeply."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"not JSON: {_one_line(error)}") from error


def read_json(path: str | os.PathLike) -> dict:
    """The JSON object in a file.

    Raises:
      Damaged: its content is not a JSON object.
      OSError: the file cannot be read.
    """
    tree = parse_json(pathlib.Path(path).read_bytes())
    if not isinstance(tree, dict):
        raise Damaged(f"expected a JSON object, got {type(tree).__name__}")
    return tree


def _one_line(error):
    return " ".join(str(error).split())[:200] or type(error).__name__


def write_atomically(path: str | os.PathLike, content: bytes) -> None:
    """Replace `path` by `content` in one rename; folders above it are made.

    Waits for another process or thread that is writing the same path.

    Raises:
      InputError: the folder cannot be written to or the disk is full; nothing has changed then.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(temporary) as file:
            try:
                file.write(content)
                flush(file)
                os.chmod(temporary, 0o644)
                os.rename(temporary, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
    except OSError as error:
        raise InputError(
            f"{path}: cannot write ({error.strerror}); nothing is lost: make room or allow "
            "writing there, and start again"
        ) from error
    fsync(path.parent)


def _locked(path):
    """The file `path`, open for writing, empty and locked; waits for another writer of it."""
    while True:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        file = os.fdopen(descriptor, "wb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.lstat(path)):
                    file.truncate(0)
                    return file
            file.close()  # the other writer has renamed it
        except BaseException:
            file.close()
            raise


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
    """`fsync` of everything in `folder`, innermost first, then of the folder itself."""
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
