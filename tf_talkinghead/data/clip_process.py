"""Child processes that prepare clips, isolated from the pipeline, and the server that starts them.

Video and image libraries are C code, and a damaged or malicious file can crash them. So a clip is
prepared in a child process: a child that crashes is replaced, a clip that crashes it twice or takes
longer than CLIP_SECONDS is rejected, and the pipeline continues. A child ends when its connection
to the client closes, and the server when its standard input closes; so neither outlives a client
that was killed.

The children are forked by `multiprocessing`'s forkserver (clip_server.py), which has loaded dlib's
landmark model: its 100 MB are in memory, and in the cache that cores share, once for all children.
Two processes, each with its own copy, did 1.4 times the work of one; two forked ones did 1.9 times.
"""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
from multiprocessing.connection import Client

from tf_talkinghead.data.clip_worker import Job, Outcome, outcome_path
from tf_talkinghead.data.listing import Clip
from tf_talkinghead.errors import InputError
from tf_talkinghead.files import write_atomically

_SERVER = "tf_talkinghead.data.clip_server"
CLIP_SECONDS = 3600.0  # limit for one clip; two hours of video are decoded in a few minutes


def start_module(module: str, *arguments: str, stderr=None) -> subprocess.Popen:
    """Starts `python -m module arguments`, a module of this project, on one core.

    Returns:
      The process, with text pipes to its input and from its output; `stderr` as for Popen.
    """
    root = pathlib.Path(__file__).resolve().parents[2]
    paths = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": paths}
    environment |= dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
    )
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )


class ForkServer:
    """The process that starts clip processes, for any process of this machine. A context manager.

    `address` is its Unix socket, in a folder that only this user can enter. Leaving the context, or
    `close`, ends the server and its clip processes.

    Args:
      job: the preparation. What libraries print to stderr goes to `messages.txt` beside the job's
        folder.

    Raises:
      InputError: the process does not start.
    """

    def __init__(self, job: Job):
        messages = pathlib.Path(job.work).parent / "messages.txt"
        messages.parent.mkdir(parents=True, exist_ok=True)
        with open(messages, "ab") as file:
            self._process = start_module(_SERVER, job.landmark_model or "", stderr=file)
        self.pid = self._process.pid
        self.address = self._process.stdout.readline().strip()
        if not self.address:
            self.close()
            raise InputError(
                f"the process that prepares clips does not start; {messages} holds its messages"
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        """Ends the server and the clip processes it started."""
        self._process.communicate()


class ClipProcess:
    """A child process that prepares clips, replaced when it dies.

    Args:
      job: the preparation.
      address: that of a ForkServer; by default this object starts its own.
      seconds: time limit of one clip.

    Attributes:
      pid: the child's process id; None before the first clip and where the child has ended.
    """

    def __init__(self, job: Job, address: str | None = None, seconds: float = CLIP_SECONDS):
        self.job, self.seconds = job, seconds
        self.pid = None
        self._address, self._own, self._connection = address, None, None

    def prepare(self, clip: Clip) -> None:
        """Prepares one clip in the child; afterwards its outcome is on disk.

        Raises:
          InputError: the outcome cannot be written, the landmark model cannot be read, or the
            server has ended.
        """
        try:
            error = self._ask(clip)
            if error is None:
                error = self._ask(clip)
        except TimeoutError:
            if self.pid:
                os.kill(self.pid, signal.SIGKILL)
            self._drop()
            self._reject(clip, f"it cannot be read within {self.seconds:g} s")
            return
        if error is None:
            self._reject(clip, "it crashes the program that reads it")
        elif error:
            raise InputError(error)

    def close(self) -> None:
        """Ends the child."""
        self._drop()
        if self._own:
            self._own.close()
            self._own = None

    def _reject(self, clip, reason):
        outcome = json.dumps(dataclasses.asdict(Outcome(*clip, reason=reason))) + "\n"
        write_atomically(outcome_path(self.job.work, clip.name), outcome.encode())

    def _ask(self, clip):
        """The child's answer; None if the child died. TimeoutError if it takes too long."""
        try:
            if self._connection is None:
                self._start()
            self._connection.send(clip)
            if not self._connection.poll(self.seconds):
                raise TimeoutError
            return self._connection.recv()
        except (EOFError, ConnectionError):
            self._drop()
            return None

    def _start(self):
        if self._address is None:
            self._own = ForkServer(self.job)
            self._address = self._own.address
        try:
            self._connection = Client(self._address, "AF_UNIX")
        except OSError as error:
            raise InputError(
                f"the process that prepares clips has ended ({error.strerror}); "
                "start again to go on"
            ) from error
        self._connection.send(self.job)
        self.pid = self._connection.recv()

    def _drop(self):
        if self._connection:
            self._connection.close()
        self._connection = self.pid = None
