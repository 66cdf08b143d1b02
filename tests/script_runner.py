"""Runs a script several times in one fresh process: absl's flags are global, and loading TensorFlow takes seconds.

    refused, helped = run_script("drive", ["--person=a"], ["--help"])
    assert refused.code == 1 and refused.stderr.startswith("error: ")
"""

import contextlib
import importlib
import io
import json
import os
import pathlib
import subprocess
import sys
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent


class Result(NamedTuple):
    """How one run ended."""

    code: int
    stdout: str
    stderr: str


def run_script(name, *runs, timeout=240):
    """`python -m scripts.<name>` for each list of arguments, in turn."""
    command = [sys.executable, "-m", "tests.script_runner", name, json.dumps(runs)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr
    return [Result(*result) for result in json.loads(done.stdout.splitlines()[-1])]


def _main(name, runs):
    script = importlib.import_module(f"scripts.{name}")
    from absl import flags

    from scripts import command

    sys.modules["__main__"].__doc__ = script.__doc__  # --help prints the main module's
    results = []
    for arguments in runs:
        for flag in flags.FLAGS:
            flags.FLAGS[flag].unparse()
        sys.argv = [f"scripts/{name}.py", *arguments]
        stdout, stderr, code = io.StringIO(), io.StringIO(), 0
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            try:
                command.run(script.main)
            except SystemExit as end:
                code = end.code or 0
        results.append((code, stdout.getvalue(), stderr.getvalue()))
    print(json.dumps(results))


if __name__ == "__main__":
    _main(sys.argv[1], json.loads(sys.argv[2]))
