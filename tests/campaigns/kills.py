"""Kills a command at seeded moments and checks what it left, then that the same command finishes.

A command first runs undisturbed, and every change below its folder is recorded. Moments are then
drawn between the first change and the last: half of them at most 50 milliseconds after a random
change, the others uniformly in time. The process gets SIGKILL and SIGTERM in turn. If it ends
before the signal, the moment is drawn again.
"""

import dataclasses
import os
import pathlib
import random
import shutil
import signal
import time
from collections.abc import Callable

from tests.campaigns.disk_changes import DiskChanges

NEAR = 0.05  # seconds after a change
DRAWS = 30  # most draws of a moment that falls before the command's end


@dataclasses.dataclass(frozen=True)
class Command:
    """A command that is killed.

    Attributes:
      name: of the command, in results.
      lay: `lay(folder)` fills the new folder `folder` with what the command starts from.
      call: that of `ForkServer.start`.
      arguments: `arguments(folder)` returns those of `ForkServer.start`.
      check: `check(server, folder, done)` returns what is wrong with the content of `folder`, as
        text, or ""; `done` is whether the command has finished.
      refused: texts that the repeated command's error may contain, if the killed one had finished
        its work already.
      on_again: `on_again(folder)` is called before the repetition and returns `after(changes)`,
        which is called with the repetition's changes and returns what is wrong, or "".
    """

    name: str
    lay: Callable
    call: str
    arguments: Callable
    check: Callable
    refused: tuple = ()
    on_again: Callable = lambda folder: lambda changes: ""


@dataclasses.dataclass(frozen=True)
class Reference:
    """The undisturbed run: its duration in seconds, and its changes as (seconds since the first
    change, kind, path).
    """

    seconds: float
    changes: list


def reference(server, command, folder):
    """Runs `command` undisturbed in the new `folder`; returns the `Reference`.

    Raises:
      RuntimeError: the command fails or leaves what `check` calls wrong.
    """
    job, changes, began = _run(server, command, folder, lambda job, changes: None)
    wrong = job.stderr if job.code else command.check(server, folder, True)
    if wrong or not changes:
        raise RuntimeError(f"{command.name}, undisturbed: {wrong or 'changes nothing on disk'}")
    first = changes[0].seconds
    return Reference(
        time.monotonic() - began, [(c.seconds - first, c.kind, c.path) for c in changes]
    )


def kill_once(server, command, known, number, seed, folder):
    """Kills the command at one moment, checks `folder`, repeats the command and checks again.

    Args:
      known: the command's `Reference`.
      number: of the moment: odd numbers are near a change, every other pair gets SIGTERM.
      seed: decides the moment, together with the command's name and `number`.

    Returns:
      {"command", "number", "signal", "near", "change", "of", "after", "ms", "code", "wrong"}:
      `change` is the number of changes seen before the signal, `after` the last of them, `ms` the
      time since it, and `wrong` is "" or what was found.
    """
    draw = random.Random(f"{seed} {command.name} {number}")
    near, sent = number % 2 == 1, (signal.SIGKILL, signal.SIGTERM)[number // 2 % 2]
    for _ in range(DRAWS):
        shutil.rmtree(folder, ignore_errors=True)
        moment = _near(draw, known) if near else _anywhere(draw, known)
        killed = _Killer(moment, sent)
        job, changes, _ = _run(server, command, folder, killed)
        # Unless its exit code is that of SIGKILL, the process ended before the signal reached it.
        if killed.at is not None and (sent != signal.SIGKILL or job.code == -sent):
            break
    else:
        raise RuntimeError(f"{command.name}: ended before each of {DRAWS} moments")
    seen = [change for change in changes if change.seconds <= killed.at]
    found = {
        "command": command.name,
        "number": number,
        "signal": sent.name,
        "near": near,
        "change": len(seen),
        "of": len(known.changes),
        "after": f"{seen[-1].kind} {seen[-1].path}",
        "ms": round(1000 * (killed.at - seen[-1].seconds), 1),
        "code": job.code,
    }
    return {**found, "wrong": _after(server, command, folder, job, sent)}


def _after(server, command, folder, job, sent):
    """What is wrong after the signal, or after the command's repetition; "" if nothing is."""
    interrupted = sent == signal.SIGTERM and job.code == 1 and "interrupted" in job.stderr
    if job.code not in (-sent, 0) and not interrupted:
        return f"ended with {job.code}: {job.stderr[-500:]}"
    wrong = command.check(server, folder, False)
    if wrong:
        return f"left: {wrong}"
    after = command.on_again(folder)
    again, changes, _ = _run(server, command, folder, lambda job, changes: None, lay=False)
    if again.code != 0 and not any(text in again.stderr for text in command.refused):
        return f"again: ended with {again.code}: {again.stderr[-500:]}"
    wrong = after(changes) or command.check(server, folder, True)
    return f"again: {wrong}" if wrong else ""


class _Killer:
    """Sends the signal at `moment`: (number of changes to wait for, seconds to wait after them).

    `at` is the time.monotonic() of the signal, None before it and where the command ended first.
    """

    def __init__(self, moment, sent):
        (self._count, self._wait), self._sent, self.at = moment, sent, None

    def __call__(self, job, changes):
        if self.at is not None or len(changes) < self._count:
            return
        if time.monotonic() < changes[self._count - 1].seconds + self._wait or job.ended():
            return
        self.at = time.monotonic()
        if self._sent == signal.SIGKILL:
            os.killpg(job.pid, self._sent)
        else:
            os.kill(job.pid, self._sent)


def _near(draw, known):
    count = draw.randint(1, len(known.changes))
    left = known.changes[-1][0] - known.changes[count - 1][0]
    return count, draw.uniform(0, min(NEAR, left))


def _anywhere(draw, known):
    return 1, draw.uniform(0, known.changes[-1][0])


def _run(server, command, folder, react, lay=True):
    """Runs the command to its end, calling `react(job, changes)` as changes come."""
    folder = pathlib.Path(folder)
    if lay:
        folder.mkdir(parents=True)
        command.lay(folder)
    output = folder.parent / f"{folder.name}-output"
    with DiskChanges(folder) as watched:
        began, changes = time.monotonic(), []
        job = server.start(command.call, command.arguments(folder), output)
        while not job.ended():
            if time.monotonic() - began > 300:
                job.wait(0)
            changes += watched.read(0.001)
            react(job, changes)
        changes += watched.read()
    return job, changes, began
