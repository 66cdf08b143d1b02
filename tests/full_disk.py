"""A stand-in for a full disk."""

import contextlib
import resource


@contextlib.contextmanager
def largest_file(size):
    """No file may grow beyond `size` bytes: a write that does fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
