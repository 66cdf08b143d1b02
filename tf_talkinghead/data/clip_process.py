"""Clips prepared in processes of their own, all forked from one, the nursery.

Video and image libraries are C code that meets whatever lies on a disk. So a clip is prepared in a child
process: should it crash there, another is forked, and a clip that crashes it twice is rejected, while the
pipeline goes on. A child ends by itself when whoever asks it is gone (its connection ends), and so does the
nursery (its input ends).

The nursery has loaded dlib's model, so that its 100 MB lie in memory, and in the cache that cores share, once
for all children: two processes with copies of their own did 1.4 times the work of one, forked ones 1.9 times.
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

from tf_talkinghead import config as configuration
from tf_talkinghead.config import DataConfig
from tf_talkinghead.data.clip_worker import Job, Outcome, outcome_path, prepare_clip
from tf_talkinghead.data.listing import Clip
from tf_talkinghead.errors import InputError, TalkingHeadError
from tf_talkinghead.files import write_atomically


def start_module(module: str, *arguments: str, stderr=None) -> subprocess.Popen:
    """`python -m module arguments`, with pipes for text to and from it: one of this package, on one core, wherever we are."""
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


class Nursery:
    """The process that clip processes are forked from; they may be asked for from any process of this machine.

    `address` is its Unix socket, in a folder that is nobody else's.
    """

    def __init__(self, job: Job):
        messages = (
            pathlib.Path(job.work).parent / "messages.txt"
        )  # where the children's libraries complain about files
        messages.parent.mkdir(parents=True, exist_ok=True)
        with open(messages, "ab") as file:
            self._process = start_module(__name__, job.landmark_model or "", stderr=file)
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
        """End it. Children that are still asked go on."""
        self._process.communicate()


class ClipProcess:
    """A child process that prepares clips, forked again when it dies: of the nursery at `address`, or of one of its own."""

    def __init__(self, job: Job, address: str | None = None):
        self.job, self._address, self._own, self._child = job, address, None, None

    def prepare(self, clip: Clip) -> None:
        """Have one clip prepared. InputError when its outcome cannot be written."""
        answer = self._ask(clip) or self._ask(clip)
        if answer is None:
            outcome = Outcome(*clip, reason="it crashes the program that reads it")
            write_atomically(
                outcome_path(self.job.work, clip.name),
                (json.dumps(dataclasses.asdict(outcome)) + "\n").encode(),
            )
        elif answer["error"]:
            raise InputError(answer["error"])

    def close(self) -> None:
        """End the child."""
        self._drop()
        if self._own:
            self._own.close()
            self._own = None

    def _ask(self, clip):
        """The child's answer, or None when it died."""
        if self._child is None:
            self._start()
        line = ""
        with contextlib.suppress(ConnectionError):
            self._child.write(json.dumps(clip) + "\n")
            self._child.flush()
            line = self._child.readline()
        if line:
            return json.loads(line)
        self._drop()
        return None

    def _start(self):
        if self._address is None:
            self._own = Nursery(self.job)
            self._address = self._own.address
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(self._address)
            except OSError as error:
                raise InputError(
                    f"the process that prepares clips has ended ({error.strerror}); start again to go on"
                ) from error
            self._child = connection.makefile("rw", encoding="utf-8")
        self._child.write(json.dumps(dataclasses.asdict(self.job)) + "\n")

    def _drop(self):
        if self._child:
            with contextlib.suppress(ConnectionError):  # what it was not told any more
                self._child.close()
            self._child = None


def nurse(listener: socket.socket, owner) -> None:
    """The nursery: forks a child for every connection, until the other end of the pipe `owner` is closed."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a child
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asks is told too, and decides
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
            pass  # nobody asks any more
        except Exception:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(0)  # the nursery's own ending is not this child's


def serve(requests, answers) -> None:
    """A child: a job, then clips, one JSON a line; one answer a clip."""
    job = json.loads(next(requests))
    augment = configuration.AugmentConfig(**job["config"].pop("augment"))
    job["config"] = DataConfig(**job["config"], augment=augment)
    job = Job(**job)
    for line in requests:
        error = ""
        try:
            prepare_clip(job, Clip(*json.loads(line)))
        except TalkingHeadError as problem:
            error = str(problem)
        answers.write(json.dumps({"error": error}) + "\n")
        answers.flush()


def main(landmark_model: str) -> None:
    """The nursery's process: prints its address when clip processes may be asked for."""
    import cv2

    from tf_talkinghead.faces import crops  # noqa: F401  (loaded here, children have them at once)

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
        os.dup2(2, 1)  # the pipe is not the children's to hold, nor to print on
        nurse(listener, sys.stdin)


if __name__ == "__main__":
    main(sys.argv[1])
