"""The server of clip processes: forks one from `multiprocessing`'s forkserver for each connection.

    python -m tf_talkinghead.data.clip_server LANDMARK_MODEL

LANDMARK_MODEL may be empty. The server prints the address of its Unix socket, whose folder only
this user can enter. When its standard input ends, it ends with the processes it started.

It is a separate process for two reasons. A forkserver serves only the process that started it and
that process's children, and Beam's workers are neither. And `multiprocessing` imports the main
module of that process in every child: this must not be the user's script.
"""

import contextlib
import multiprocessing
import os
import pathlib
import signal
import sys
import tempfile
import threading
from multiprocessing import forkserver
from multiprocessing.connection import Listener

from tf_talkinghead.data.clip_worker import serve

# Environment variable with the landmark model's path: preloading code takes no arguments.
MODEL_VARIABLE = "TALKINGHEAD_CLIP_LANDMARK_MODEL"
_PRELOADED = ["tf_talkinghead.data.clip_preload"]
_WAITING = 64  # clients that may wait for their process


def accept(listener: Listener, context) -> None:
    """Starts a process for every connection; if that process dies, the client's connection ends."""
    while True:
        with listener.accept() as connection, contextlib.suppress(OSError, EOFError):
            context.Process(target=serve, args=(connection,), daemon=True).start()


def main(landmark_model: str) -> None:
    """Prints the address, then serves until standard input ends."""
    # Ctrl-C in a terminal reaches the client too, which ends this process. Children inherit this.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    owner = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # children must neither hold the owner's pipe nor print on it
    os.environ[MODEL_VARIABLE] = landmark_model
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    forkserver.ensure_running()  # loads while the client goes on
    with (
        tempfile.TemporaryDirectory(prefix="clips-") as folder,
        Listener(str(pathlib.Path(folder, "socket")), "AF_UNIX", _WAITING) as listener,
    ):
        threading.Thread(target=accept, args=(listener, context), daemon=True).start()
        with owner:
            print(listener.address, file=owner)
        sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1])
