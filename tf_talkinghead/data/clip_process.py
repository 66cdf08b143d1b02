"""Processes that prepare clips, forked from one server that has loaded dlib's model.

Video and image libraries are C code that reads whatever lies on a disk. So a clip is prepared in a
child process: a child that crashes is replaced, a clip that crashes it twice or takes longer than
CLIP_SECONDS is rejected, and the pipeline goes on. A child ends when its client is gone (its
connection ends), and so does the server (its input ends), however they ended.

The model's 100 MB lie in memory, and in the cache that cores share, once for all children: two
processes with copies of their own did 1.4 times the work of one, forked ones 1.9 times.
`multiprocessing`'s forkserver shares them too, but only below one process, and Beam's workers are
processes of their own: each would load a copy. It would also import the caller's main module in
every child.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import tempfile

from tf_talkinghead.config import PreparationConfig
from tf_talkinghead.data.clip_worker import Job, Outcome, outcome_path, prepare_clip
from tf_talkinghead.data.listing import Clip
from tf_talkinghead.errors import InputError, TalkingHeadError
from tf_talkinghead.files import write_atomically

CLIP_SECONDS = 3600.0  # that a clip may take; two hours of video are decoded in a few minutes


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
    """The process that clip processes are forked from, for any process of this machine.

    `address` is its Unix socket, in a folder that only this user can enter.

    Args:
      job: the preparation; its libraries' complaints go to `messages.txt` beside the job's folder.

    Raises:
      InputError: it does not start.
    """

    def __init__(self, job: Job):
        messages = pathlib.Path(job.work).parent / "messages.txt"
        messages.parent.mkdir(parents=True, exist_ok=True)
        with open(messages, "ab") as file:
            self._process = start_module(__name__, job.landmark_model or "", stderr=file)
        self.pid = self._process.pid
        self.address = self._process.stdout.readline().strip()
        if not self.address:
            self.close()
            raise InputError(
                f"the process that prepares clips does not start; {messages} has what it said"
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        """Ends the server. Children that still have a client go on."""
        self._process.communicate()


class ClipProcess:
    """A child process that prepares clips, replaced when it dies.

    Args:
      job: the preparation.
      address: of a ForkServer; by default the process starts one of its own.
      seconds: that a clip may take.
    """

    def __init__(self, job: Job, address: str | None = None, seconds: float = CLIP_SECONDS):
        self.job, self.seconds = job, seconds
        self._address, self._own = address, None
        self._connection = self._child = self._pid = None

    def prepare(self, clip: Clip) -> None:
        """Has one clip prepared; its outcome lies on disk then.

        Raises:
          InputError: the outcome cannot be written, or the server has ended.
        """
        try:
            answer = self._ask(clip) or self._ask(clip)
        except TimeoutError:
            os.kill(self._pid, signal.SIGKILL)
            self._drop()
            self._reject(clip, f"it is not read within {self.seconds:g} s")
            return
        if answer is None:
            self._reject(clip, "it crashes the program that reads it")
        elif answer["error"]:
            raise InputError(answer["error"])

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
        """The child's answer, None when it died; TimeoutError when it takes too long."""
        line = ""
        with contextlib.suppress(ConnectionError):
            if self._child is None:
                self._start()
            self._connection.settimeout(self.seconds)
            if self._pid:
                self._child.write(json.dumps(clip) + "\n")
                self._child.flush()
                line = self._child.readline()
        if line:
            return json.loads(line)
        self._drop()
        return None

    def _start(self):
        if self._address is None:
            self._own = ForkServer(self.job)
            self._address = self._own.address
        self._connection = socket.socket(socket.AF_UNIX)
        try:
            self._connection.connect(self._address)
        except OSError as error:
            self._drop()
            raise InputError(
                f"the process that prepares clips has ended ({error.strerror}); "
                "start again to go on"
            ) from error
        self._child = self._connection.makefile("rw", encoding="utf-8")
        self._child.write(json.dumps(dataclasses.asdict(self.job)) + "\n")
        self._child.flush()
        self._pid = int(self._child.readline() or 0)  # 0: it died at once

    def _drop(self):
        for end in (self._child, self._connection):
            if end:
                with contextlib.suppress(OSError):  # unsent text has no reader any more
                    end.close()
        self._connection = self._child = self._pid = None


def fork_children(listener: socket.socket, owner) -> None:
    """Forks a child for every connection, until the other end of the pipe `owner` is closed."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a child
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the client is interrupted too, and decides
    while owner not in select.select([listener, owner], [], [])[0]:
        connection, _ = listener.accept()
        if os.fork():
            connection.close()
            continue
        try:
            listener.close()
            with (
                connection,
                connection.makefile("r") as requests,
                connection.makefile("w") as answers,
            ):
                serve(requests, answers)
        except (ConnectionError, StopIteration):
            pass  # the client is gone
        except Exception:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(0)  # the server's own clean-up is not this child's


def serve(requests, answers) -> None:
    """A child: reads a job, answers its process id; then a JSON line in and out for each clip."""
    job = json.loads(next(requests))
    job["config"] = PreparationConfig(**job["config"])
    job = Job(**job)
    print(os.getpid(), file=answers, flush=True)
    for line in requests:
        error = ""
        try:
            prepare_clip(job, Clip(*json.loads(line)))
        except TalkingHeadError as problem:
            error = str(problem)
        print(json.dumps({"error": error}), file=answers, flush=True)


def main(landmark_model: str) -> None:
    """The server's process; prints its address when it is ready."""
    import cv2

    from tf_talkinghead.faces import crops  # loaded here, children have it at once

    cv2.setNumThreads(1)  # one core a process: the pipeline runs one process a core
    crops.default_landmarks(landmark_model or None)
    with (
        tempfile.TemporaryDirectory(prefix="clips-") as folder,
        socket.socket(socket.AF_UNIX) as listener,
    ):
        address = os.path.join(folder, "socket")
        listener.bind(address)
        listener.listen()
        print(address, flush=True)
        os.dup2(2, 1)  # children must neither hold the pipe nor print on it
        fork_children(listener, sys.stdin)


if __name__ == "__main__":
    main(sys.argv[1])
