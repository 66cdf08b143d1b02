"""The faults campaign: commands killed at seeded moments, and broken disks and files.

    python -m scripts.benchmark faults --option=folder=/tmp/faults --option=seconds=280

Each moment and its outcome is a line of FOLDER/results.jsonl; started again, the campaign continues
where it stopped. After any moment nothing may be half-published or wrong, nothing may be lost but
what came after the last snapshot, and the same command must finish. The tally and the faults are
printed.
"""

import collections
import json
import pathlib
import shutil
import tempfile
import time

from tests.campaigns import breaks, kills
from tests.campaigns.commands import commands
from tests.campaigns.fork_server import ForkServer
from tests.campaigns.jobs import PRELOAD
from tf_talkinghead.errors import InputError

OPTIONS = {
    "folder": "folder of the inputs and results.jsonl; default: a temporary folder",
    "moments": "kills of each command; 36 by default",
    "seed": "seed of the moments and damages; 0 by default",
    "seconds": "stop after this time; the same command continues; default: run to the end",
    "only": "some of the parts, comma-separated: " + ",".join([*commands("."), *breaks.PARTS]),
}


def run(preset, options):
    """Runs the campaign, see the module docstring.

    Args:
      preset: not used; it is `tiny`.
      options: as in OPTIONS.

    Returns:
      {"moments", "moments_left", "faults_found", "seconds", ...}, flat.
    """
    if "folder" in options:
        return _run(pathlib.Path(options["folder"]).absolute(), options)
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        return _run(pathlib.Path(folder), options)


def _run(folder, options):
    moments, seed = int(options.get("moments", "36")), options.get("seed", "0")
    end = time.monotonic() + float(options.get("seconds", "inf"))
    known = [*commands("."), *breaks.PARTS]
    chosen = options["only"].split(",") if "only" in options else known
    if not set(chosen) <= set(known):
        raise InputError(f"only={options['only']}: expected some of {', '.join(known)}")
    results = Results(folder / "results.jsonl", seed)
    began = time.monotonic()
    with ForkServer(PRELOAD) as server:
        made = _made(server, folder)
        steps = [
            *_kill_steps(server, made, folder, chosen, moments, seed, results),
            *breaks.steps(server, made, folder, chosen, seed, results),
        ]
        left = len(steps)
        for step in steps:
            if time.monotonic() > end:
                break
            step()
            left -= 1
    for line in results.tally():
        print(line)
    if left:
        print(f"{left} of {len(steps)} left: run the same command again to continue")
    wrong = [result for result in results.all if result["wrong"]]
    for result in wrong:
        print(json.dumps(result))
    return {
        "seed": seed,
        "moments": float(len(results.all)),
        "moments_left": float(left),
        "faults_found": float(len(wrong)),
        "seconds": time.monotonic() - began,
    }


class Results:
    """The file results.jsonl: one line per moment, all of one seed."""

    def __init__(self, path, seed):
        self._path = path
        self.all = (
            [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        )
        if any(result["seed"] != seed for result in self.all):
            raise InputError(
                f"{path}: its results have another seed; choose another folder, or that seed"
            )
        self._seed = seed

    def add(self, result):
        """Appends one result."""
        self.all.append({**result, "seed": self._seed})
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(self.all[-1]) + "\n")

    def has(self, command, number):
        """Whether the moment `number` of `command` is done."""
        return any((r["command"], r["number"]) == (command, number) for r in self.all)

    def tally(self):
        """Lines of text: per command the kinds of moments, where they fell and what was wrong."""
        groups = collections.defaultdict(list)
        for result in self.all:
            groups[result["command"]].append(result)
        for name, group in groups.items():
            kills_ = [result for result in group if "signal" in result]
            line = f"{name}: {len(group)} moments, {sum(bool(r['wrong']) for r in group)} wrong"
            if kills_:
                signals = collections.Counter(result["signal"] for result in kills_)
                near = sum(result["ms"] <= 1000 * kills.NEAR for result in kills_)
                after = collections.Counter(_place(result["after"]) for result in kills_)
                line += (
                    f"; {dict(signals)}, {near} within 50 ms after a change; last change before: "
                )
                line += ", ".join(f"{place} {count}" for place, count in after.most_common())
            yield line


def _place(change):
    """A change without the numbers and random parts of its path, for the tally."""
    kind, _, path = change.partition(" ")
    parts = [part for part in path.split("/") if part]
    shown = [part.split("-")[0] if part.startswith(".") else part for part in parts]
    return f"{kind} {'/'.join(shown[-2:])}"


def _made(server, folder):
    """The folder of inputs, made once."""
    made = folder / "made"
    if not made.exists():
        shutil.rmtree(folder / "making", ignore_errors=True)
        call = ["tests.campaigns.made_inputs:make", str(folder / "making")]
        job = server.run("tests.campaigns.jobs:lay", call, folder / "making-output")
        if job.code:
            raise RuntimeError(job.stderr)
        (folder / "making").rename(made)
    return made


def _kill_steps(server, made, folder, chosen, moments, seed, results):
    """Functions of no argument, one per moment, command by command."""
    known = {}

    def step(command, number):
        if command.name not in known:
            place = folder / "reference"
            shutil.rmtree(place, ignore_errors=True)
            known[command.name] = kills.reference(server, command, place)
        place = folder / "killed"
        result = kills.kill_once(server, command, known[command.name], number, seed, place)
        results.add(result)
        if result["wrong"]:  # kept for inspection
            kept = folder / f"wrong-{command.name}-{number}"
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(place, kept, symlinks=True)

    return [
        lambda command=command, number=number: step(command, number)
        for command in commands(made).values()
        for number in range(moments)
        if command.name in chosen and not results.has(command.name, number)
    ]
