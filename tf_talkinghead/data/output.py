"""Output folder of a data preparation: its lock and `rejected.csv`."""

import csv
import fcntl
import io
import pathlib

from tf_talkinghead.data.listing import Rejection
from tf_talkinghead.errors import InputError
from tf_talkinghead.files import write_atomically


def locked(work: pathlib.Path):
    """Makes the folder `work` and locks it for this process until the returned file is closed.

    Raises:
      InputError: the folder cannot be written, or another preparation holds the lock.
    """
    try:
        work.mkdir(parents=True, exist_ok=True)
        lock = open(work / "lock", "w")  # noqa: SIM115  (the caller closes it)
    except OSError as error:
        raise InputError(f"--output={work.parent}: cannot be written ({error.strerror})") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise InputError(f"--output={work.parent}: another preparation is writing to it") from error
    return lock


def write_rejected(output: pathlib.Path, rejected: list[Rejection]) -> None:
    """Writes `rejected.csv`: each file left out, and why."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Rejection._fields)
    writer.writerows(rejected)
    write_atomically(output / "rejected.csv", text.getvalue().encode("utf-8", "surrogateescape"))


def read_rejected(output: pathlib.Path) -> list[Rejection]:
    """The rejections in `rejected.csv`; an empty list if there is no such file."""
    path = output / "rejected.csv"
    if not path.is_file():
        return []
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return [Rejection(*row) for row in list(csv.reader(file))[1:]]
