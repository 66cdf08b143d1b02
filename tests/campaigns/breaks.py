"""Faulty environments for the commands of commands.py: disks, the clock, damaged files.

    full_disk   a small tmpfs, full after any number of pages, so that each write finds it full once
    read_only   the folder's disk is read-only
    clock       time.time() jumps by a day and more, back and forth; Python's clock only
    damaged     checkpoints, records, weights, SavedModels, avatars: truncated, or a bit flipped

A command either succeeds or ends with one line that begins with "error: ", leaves nothing half
published, and finishes once the fault is gone. Damage may cause an error, never a wrong picture.
The first two mount a tmpfs, for which Linux needs root; without it they are not run, which is
printed.
"""

import contextlib
import os
import pathlib
import shutil
import subprocess

from tests.campaigns import damages
from tests.campaigns.commands import commands

PARTS = ("read_only", "clock", "full_disk", "damaged")
PAGE = 4096  # bytes; what a tmpfs is filled in
FULL = 90  # numbers of free pages that are tried, per command: all, where it writes no more
ROOMY = 256 << 20  # bytes


def steps(server, made, folder, chosen, seed, results):
    """Functions of no argument, one per broken run that `results` does not hold yet."""
    listed, place = [], folder / "broken"
    mountable = _can_mount(folder)
    for part in [part for part in PARTS if part in chosen and part != "damaged"]:
        if part != "clock" and not mountable:
            print(f"{part}: not run, since a tmpfs cannot be mounted here")
            continue
        for name, command in commands(made).items():
            listed += [
                (f"{part} {name}", number, function)
                for number, function in enumerate(_broken(part, server, command, place))
            ]
    if "damaged" in chosen:
        listed += damages.cases(server, made, folder, seed)
    return [
        lambda name=name, number=number, function=function: results.add(
            {"command": name, "number": number, **function()}
        )
        for name, number, function in listed
        if not results.has(name, number)
    ]


def one_line(job):
    """What is wrong with how a job ended, or "": it may succeed, or print one line of error."""
    if job.code == 0:
        return ""
    lines = [line for line in job.stderr.replace("\r", "\n").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    if job.code == 1 and len(errors) == 1 and lines[-1] == errors[0]:
        return ""
    return f"ended with {job.code}: {job.stderr[-1500:]}"


def _broken(part, server, command, place):
    """Functions of no argument, one per broken run of `command`."""
    if part == "read_only":
        return [lambda: _read_only(server, command, place)]
    if part == "clock":
        return [lambda: _clock(server, command, place)]
    laid, peak = _peak(server, command, place)
    pages = max(8, (peak - laid) // PAGE)  # 8: a short peak is not seen
    count = min(pages, FULL)
    rooms = [pages * number // count * PAGE for number in range(count)]
    return [lambda room=room: _full_disk(server, command, laid, room, place) for room in rooms]


def _full_disk(server, command, laid, room, place):
    """Runs the command on a disk with `room` bytes beyond the `laid` ones; returns the result."""
    with _tmpfs(place) as mount:
        command.lay(place)
        mount(f"size={max(PAGE, laid + room)}")
        output = place.parent / "broken-output"
        job = server.run(command.call, command.arguments(place), output)
        wrong = one_line(job)
        said = _said(job)
        mount(f"size={ROOMY}")
        wrong = wrong or _then(server, command, place, job)
    return {"room": room, "said": said, "wrong": wrong}


def _peak(server, command, place):
    """Bytes used on the disk before the command, and the most while it runs with enough room."""
    with _tmpfs(place):
        command.lay(place)
        laid = peak = _used(place)
        job = server.start(command.call, command.arguments(place), place.parent / "broken-output")
        while not job.ended(0.005):
            peak = max(peak, _used(place))
        if job.code:
            raise RuntimeError(f"{command.name}, with room: {job.stderr[-500:]}")
    return laid, peak


def _read_only(server, command, place):
    with _tmpfs(place) as mount:
        command.lay(place)
        mount("ro")
        job = server.run(command.call, command.arguments(place), place.parent / "broken-output")
        said = _said(job)
        wrong = one_line(job) or ("it succeeded" if job.code == 0 else "")
        mount("rw")
        wrong = wrong or _then(server, command, place, job)
    return {"said": said, "wrong": wrong}


def _clock(server, command, place):
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    command.lay(place)
    call = "tests.campaigns.jobs:with_jumping_clock"
    job = server.run(call, command.arguments(place), place.parent / "broken-output")
    wrong = job.stderr[-1500:] if job.code else command.check(server, place, True)
    shutil.rmtree(place)
    return {"wrong": wrong}


def _then(server, command, place, job):
    """Checks what the command left, runs it again without the fault and checks; "" if right."""
    if job.code == 0:
        return command.check(server, place, True)
    wrong = command.check(server, place, False)
    if wrong:
        return f"left: {wrong}"
    again = server.run(command.call, command.arguments(place), place.parent / "broken-output")
    if again.code and not any(text in again.stderr for text in command.refused):
        return f"again: {again.stderr[-1500:]}"
    wrong = command.check(server, place, True)
    return f"again: {wrong}" if wrong else ""


def _said(job):
    lines = job.stderr.strip().splitlines()
    return lines[-1][:200] if job.code and lines else ""


def _used(place):
    status = os.statvfs(place)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


@contextlib.contextmanager
def _tmpfs(place):
    """A tmpfs at `place`; yields `mount(options)`, which mounts it again with other options."""
    place = pathlib.Path(place)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)

    def mount(*options):
        subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "none", place], check=True)

    mount(f"size={ROOMY}")
    try:
        yield lambda options: mount("remount", options)
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def _can_mount(folder):
    try:
        with _tmpfs(folder / "mountable"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False
