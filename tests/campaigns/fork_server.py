"""A process that has imported what jobs need and forks a copy of itself for each job.

    with ForkServer(["tensorflow", "tf_talkinghead.export.workflow"]) as server:
        job = server.start("tests.campaigns.jobs:script", ["export", ["--help"]], folder)
        os.kill(job.pid, signal.SIGKILL)
        assert job.wait(30) == -signal.SIGKILL

A job starts in tenths of a second; importing TensorFlow each time would take ten seconds. The
server itself runs no TensorFlow operation, so TensorFlow has no threads when it forks. A job is the
leader of its own process group; its output goes to the files `stdout` and `stderr` in its folder.
"""

import atexit
import importlib
import json
import os
import pathlib
import select
import subprocess
import sys
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]


class ForkServer:
    """A fork server; jobs run one at a time."""

    def __init__(self, preload=()):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.campaigns.fork_server", *preload],
            cwd=ROOT,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._answer()  # once everything is imported

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._process.stdin.close()
        self._process.wait(30)

    def start(self, call, arguments, folder):
        """Starts `call`, "module:function", with JSON `arguments`; returns the `Job`."""
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
        job = {"call": call, "arguments": arguments, "folder": str(folder)}
        self._process.stdin.write(json.dumps(job).encode() + b"\n")
        self._process.stdin.flush()
        return Job(self._answer(), self._answer, self._process.stdout, pathlib.Path(folder))

    def run(self, call, arguments, folder, seconds=300):
        """Runs a job to its end; returns the `Job`, finished."""
        job = self.start(call, arguments, folder)
        job.wait(seconds)
        return job

    def _answer(self):
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the fork server has ended; its stderr says why")
        return json.loads(line)


class Job:
    """A forked process: `pid`, and `code` once it has ended (negative: the signal's number)."""

    def __init__(self, pid, answer, pipe, folder):
        self.pid, self.code, self._folder = pid, None, folder
        self._answer, self._pipe = answer, pipe

    def wait(self, seconds):
        """Waits for the end; returns the exit code.

        Raises:
          TimeoutError: it still ran after `seconds`, and was killed.
        """
        if not self.ended(seconds):
            os.killpg(self.pid, 9)
            self.ended(30)
            raise TimeoutError(f"no end after {seconds} s: {self.stderr[-2000:]}")
        return self.code

    def ended(self, seconds=0.0):
        """Whether it has ended or ends within `seconds`."""
        if self.code is None and select.select([self._pipe], [], [], seconds)[0]:
            self.code = os.waitstatus_to_exitcode(self._answer())
        return self.code is not None

    @property
    def stdout(self):
        return (self._folder / "stdout").read_text(errors="replace")

    @property
    def stderr(self):
        return (self._folder / "stderr").read_text(errors="replace")


def _serve():
    answers = os.fdopen(os.dup(1), "w")  # not stdout, where preloaded modules may print
    os.dup2(2, 1)
    for name in sys.argv[1:]:
        importlib.import_module(name)
    print("0", file=answers, flush=True)
    for line in sys.stdin.buffer:
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(job)
        print(pid, file=answers, flush=True)
        _, status = os.waitpid(pid, 0)
        _end_group(pid)
        print(status, file=answers, flush=True)


def _end_group(pid):
    """Kills the processes that a job left running in its group, such as workers."""
    for _ in range(100):
        try:
            os.killpg(pid, 9)
        except ProcessLookupError:
            return
        time.sleep(0.01)


def _become(job):
    """Turns the forked child into the job; never returns."""
    code = 1
    try:
        os.setsid()
        for number, name in ((1, "stdout"), (2, "stderr")):
            path = os.path.join(job["folder"], name)
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False, buffering=1)
        module, _, function = job["call"].partition(":")
        code = getattr(importlib.import_module(module), function)(*job["arguments"]) or 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            atexit._run_exitfuncs()
            sys.stdout.flush()
        finally:
            os._exit(code)


if __name__ == "__main__":
    _serve()
