"""Keys of the watermark: the public one, and an operator's own from a file."""

import hashlib
import os
import pathlib

from tf_talkinghead.errors import InputError

# With this key anybody can verify a mark, and anybody can remove or forge one.
PUBLIC_KEY = b"tf_talkinghead public watermark key, version 1"
LEAST_BYTES = 16


def read_key(path: str | os.PathLike | None) -> bytes:
    """The key in a file; the public one where no file is named.

    Raises:
      InputError: the file cannot be read, or is too short to be a secret.
    """
    if path is None:
        return PUBLIC_KEY
    try:
        key = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"--watermark_key={path}: cannot be read ({error.strerror})") from error
    if len(key) < LEAST_BYTES:
        raise InputError(
            f"--watermark_key={path}: expected a file of {LEAST_BYTES} random bytes or more, got "
            f"{len(key)}; make one with: head -c 32 /dev/urandom > FILE"
        )
    return key


def key_name(key: bytes) -> str:
    """What a card calls the key: "public", or eight digits of the SHA-256 of a private one."""
    return "public" if key == PUBLIC_KEY else hashlib.sha256(b"name\0" + key).hexdigest()[:8]
