"""Runs scripts several times in one new process, since absl's flags are global and importing
TensorFlow takes seconds.

refused, helped = run_script("drive", ["--person=a"], ["--help"])
assert refused.code == 1 and refused.stderr.startswith("error: ")
"""

import contextlib
import importlib
import io
import json
import multiprocessing
import os
import pathlib
import subprocess
import sys
from typing import NamedTuple

from absl import flags

from scripts import command

ROOT = pathlib.Path(__file__).resolve().parent.parent


class Result(NamedTuple):
    """How one run ended."""

    code: int
    stdout: str
    stderr: str


def run_script(name, *runs, timeout=240):
    """Runs `python -m scripts.<name>` with each list of arguments in turn; returns the Results."""
    return run_scripts({name: runs}, timeout)[name]


def run_scripts(runs, timeout=240):
    """Runs several scripts, each in a fork of its own: {name: [arguments, ...]}.

    Returns:
      {name: [Result, ...]}.
    """
    command = [sys.executable, "-m", "tests.script_runner", json.dumps(runs)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    return {name: [Result(*result) for result in ended] for name, ended in results.items()}


def _run(name, runs):
    script = importlib.import_module(f"scripts.{name}")
    sys.modules["__main__"].__doc__ = script.__doc__  # --help prints the main module's
    results = []
    for arguments in runs:
        for flag in flags.FLAGS:
            flags.FLAGS[flag].unparse()
        sys.argv = [f"scripts.{name}", *arguments]  # absl looks its flags up by this
        stdout, stderr, code = io.StringIO(), io.StringIO(), 0
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            try:
                command.run(script.main)
            except SystemExit as end:
                code = end.code or 0
        results.append((code, stdout.getvalue(), stderr.getvalue()))
    return results


def _forked(runs):
    """Runs each script in a fork of this process, which has loaded TensorFlow but not used it."""
    command.load("tensorflow")

    for name, lists in runs.items():
        with multiprocessing.get_context("fork").Pool(1) as pool:
            yield name, pool.apply(_run, (name, lists))


def _main(runs):
    results = (
        {name: _run(name, lists) for name, lists in runs.items()}
        if len(runs) == 1
        else dict(_forked(runs))
    )
    print(json.dumps(results))


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
