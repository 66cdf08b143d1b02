"""Command-line entry points: flags, a config, one library call. Run as `python -m scripts.NAME`.

This file is imported before any script's own imports, so here TensorFlow is made quiet: while it loads it writes
half a dozen lines that no setting turns off, and a script's one-line errors would drown in them.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def _load_tensorflow_quietly():
    sys.stderr.flush()
    stderr = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        import tensorflow  # noqa: F401
    finally:  # an exception is printed after this, so it is seen
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)


_load_tensorflow_quietly()
