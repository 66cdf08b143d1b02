"""Benchmark of the command line: seconds until a script has printed its --help."""

import statistics
import subprocess
import sys
import time

from scripts import listing
from tf_talkinghead.errors import InputError

OPTIONS = {"repeats": "runs of each, of which the median counts; 5 by default"}


def run(preset, options):
    """{figure: seconds} of each script's --help, of `talkinghead --help` and of Python alone.

    Args:
      preset: no part in this.
      options: see OPTIONS.
    """
    repeats = options.get("repeats", "5")
    if not repeats.isdecimal() or int(repeats) < 1:
        raise InputError(f"repeats={repeats}: expected a whole number from 1")
    commands = {
        "python_alone": ["-c", ""],
        "talkinghead_help": ["-m", "scripts", "--help"],
        **{f"{name}_help": ["-m", f"scripts.{name}", "--help"] for name in listing.describe()},
    }
    return {
        f"{name}_seconds": statistics.median(_seconds(command) for _ in range(int(repeats)))
        for name, command in commands.items()
    }


def _seconds(command):
    started = time.perf_counter()
    subprocess.run([sys.executable, *command], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started
