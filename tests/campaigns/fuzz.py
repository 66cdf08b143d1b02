"""The fuzz campaign: mutated input for every parser of foreign bytes.

    python -m scripts.benchmark fuzz --option=folder=/tmp/fuzz
    python -m scripts.benchmark fuzz --option=seconds=20 --option=only=png,config_json

Each parser gets inputs for ten minutes, at most 100,000 and at least 5,000. Inputs are mutations of
valid ones with recomputed checksums. For parsers in this project's own Python, atheris guides the
mutations by coverage where it is installed (`pip install atheris`). A parser runs in a process of
its own with bounded memory. Faults are: an end of that process, ten seconds on one input, and any
exception other than a refusal. Inputs that caused an exception are kept in FOLDER. The same command
with the same folder goes on: parsers finished without a fault are not fuzzed again.
"""

import concurrent.futures
import contextlib
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

from tests.campaigns.fork_server import ROOT
from tests.campaigns.fuzz_worker import PLACE
from tests.campaigns.parsers import PARSERS
from tf_talkinghead.errors import InputError
from tf_talkinghead.files import write_atomically

WORKER = ["-m", "tests.campaigns.fuzz_worker"]
HANG = 10.0  # seconds on one input
START = 120.0  # seconds until the first input
OPTIONS = {
    "folder": "folder in which faults and inputs are kept; default: a temporary folder",
    "seconds": "time for each parser; 600 by default",
    "inputs": "most inputs for each parser; 100,000 by default",
    "least": "fewest inputs for each parser, in any time; 5,000 by default, 0 with seconds",
    "seed": "seed of the mutations; 0 by default",
    "together": "parsers fuzzed at the same time; default: one for each core",
    "only": "some of the parsers, comma-separated: " + ",".join(PARSERS),
}


def run(preset, options):
    """Runs the campaign, see the module docstring.

    Args:
      preset: not used.
      options: as in OPTIONS.

    Returns:
      {"PARSER_inputs", "PARSER_past_first_check", "PARSER_refused", ..., "faults_found"}.
    """
    chosen = options["only"].split(",") if "only" in options else list(PARSERS)
    if not set(chosen) <= set(PARSERS):
        raise InputError(f"only={options['only']}: expected some of {', '.join(PARSERS)}")
    folder = pathlib.Path(options.get("folder") or tempfile.mkdtemp(prefix="fuzz-")).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    least = int(options.get("least", "0" if "seconds" in options else "5000"))
    seconds, most = float(options.get("seconds", "600")), int(options.get("inputs", "100000"))
    driver = "atheris" if importlib.util.find_spec("atheris") else "own mutations only"
    figures, faults = {"driver_of_python_parsers": driver, "folder": str(folder)}, 0

    budget = {
        "seed": options.get("seed", "0"),
        "seconds": seconds,
        "least": least,
        "inputs": most,
    }
    stop = threading.Event()

    def fuzzed(name):
        tally = folder / name / "tally.json"
        known = json.loads(tally.read_text()) if tally.exists() else {}
        if known.get("budget") == budget and not known["found"]["faults"]:
            return name, known["found"]
        found = Fuzzed(name, budget["seed"], folder, stop).go(seconds, least, most)
        if not stop.is_set():
            write_atomically(tally, json.dumps({"budget": budget, "found": found}).encode())
        return name, found

    together = int(options.get("together", os.cpu_count()))
    with concurrent.futures.ThreadPoolExecutor(together) as pool, _set_at_exit(stop):
        for name, found in pool.map(fuzzed, chosen):
            figures |= {f"{name}_{key}": value for key, value in found.items()}
            faults += int(found["faults"])
            line = ", ".join(f"{key} {value:g}" for key, value in found.items())
            print(f"{name}: {line}", flush=True)
    return {**figures, "faults_found": float(faults)}


@contextlib.contextmanager
def _set_at_exit(event):
    """Sets the event when the block ends, also by Ctrl-C, so that what waits for it can end."""
    try:
        yield
    finally:
        event.set()


class Fuzzed:
    """The fuzzing of one parser: worker processes, one after the other, until `stop` is set."""

    def __init__(self, name, seed, folder, stop=None):
        self.name, self.seed, self.folder = name, seed, folder / name
        self.stop = stop or threading.Event()
        self.folder.mkdir(exist_ok=True)
        (self.folder / "faults.jsonl").unlink(missing_ok=True)
        (self.folder / "place").write_bytes(PLACE.pack(0, 0, 0, 0.0))
        self.ended = []  # faults that ended a process: (number, how)

    def go(self, seconds, least, most):
        """Runs workers until the budget is spent or 20 of them have ended; returns the tally."""
        began, first = time.monotonic(), 0
        while True:
            how = self._watch(first, began, seconds, least, most)
            number = self._place()[0]
            if how is None:
                break
            self.ended.append((number, how))
            self._keep(number, how)
            first = number + 1
            if len(self.ended) >= 20:
                break
        count, past, refused, _ = self._place()
        path = self.folder / "faults.jsonl"
        faults = len(path.read_text().splitlines()) if path.exists() else 0
        return {
            "inputs": float(count + 1),
            "past_first_check": past / (count + 1),
            "refused": refused / (count + 1),
            "faults": float(faults),
            "seconds": time.monotonic() - began,
        }

    def _watch(self, first, began, seconds, least, most):
        """Runs one worker; returns how it failed, or None where the budget was spent."""
        log = open(self.folder / "log", "ab")  # noqa: SIM115
        command = [sys.executable, *WORKER, self.name, self.seed]
        worker = subprocess.Popen(
            [*command, str(first), str(self.folder)],
            cwd=ROOT,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is the campaign's, not an end of the worker
        )
        started = time.monotonic()
        try:
            while worker.poll() is None:
                time.sleep(0.1)
                if self.stop.is_set():
                    return None
                now, (number, _, _, at) = time.monotonic(), self._place()
                if at < started and now - started > START:
                    return "did not start"
                if at >= started and now - at > HANG:
                    return "hang"
                spent = number + 1 >= least and now - began > seconds
                if spent or number + 1 >= most:
                    return None
            return f"ended with {worker.returncode}"
        finally:
            worker.kill()
            worker.wait()
            log.close()

    def _place(self):
        return PLACE.unpack((self.folder / "place").read_bytes())

    def _keep(self, number, how):
        line = {"key": f"{self.name} {how}", "number": number, "what": "see the log"}
        with open(self.folder / "faults.jsonl", "a") as file:
            file.write(json.dumps(line) + "\n")
