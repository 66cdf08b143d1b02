"""Benchmark of command-line start-up: seconds until a script has printed its --help."""

import statistics
import subprocess
import sys
import time

from scripts import listing
from tf_talkinghead.errors import InputError

OPTIONS = {"repeats": "runs of each command, of which the median is reported; 5 by default"}


def run(preset, options):
    """Measures each script's --help, `talkinghead --help` and the start of Python itself.

    Args:
      preset: not used.
      options: see OPTIONS.

    Returns:
      {figure: seconds}.

    Raises:
      InputError: `repeats` is not a positive integer.
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
