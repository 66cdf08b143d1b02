"""Versions on disk, appearing and disappearing whole: what a server watching the folder may rely on.

    <models>/<person>/<version>/     a SavedModel, version a plain integer, newest highest
    <models>/.publishing-<person>-*  a version being written; nobody reads names beginning with "."
    <models>/.deleted-<person>-*     a version or person being removed
    <models>/.work/<person>/         what personalisation keeps: crops, weights, checkpoints, previews
    <models>/.locks/<person>         one process at a time works on a person

A version is written beside, flushed to the disk and renamed into place; removal renames away first. So a
process killed at any moment leaves either the whole version or none, and the next one sweeps up the rest.
"""

import contextlib
import fcntl
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator

from tf_talkinghead.errors import InputError
from tf_talkinghead.files import fsync, fsync_tree, write_atomically

BANK = "bank"
CONFIG_FILE = "models.config"
_ELSEWHERE = "elsewhere"  # in the usual work folder: one line for each place, "." for the usual one
_RESERVED = {BANK, CONFIG_FILE, "bank.vectors.npz", "bank.cards.json"}
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,62}[A-Za-z0-9_-])?")


def check_name(person: str) -> str:
    """`person` if it can name a folder and a served model; InputError for a reserved or unsafe name."""
    if not _NAME.fullmatch(person):
        raise InputError(
            f"--person={person!r}: expected 1 to 64 letters, digits, '_', '-' or '.' (ASCII), not beginning with '.' or '-'"
        )
    if person.lower() in _RESERVED:
        raise InputError(f"--person={person!r}: the name is reserved; choose another")
    return person


def work_dir(models: str | os.PathLike, person: str) -> pathlib.Path:
    """Where personalisation keeps what it may need again for `person`."""
    return pathlib.Path(models) / ".work" / person


def places(models: str | os.PathLike, person: str) -> list[pathlib.Path]:
    """Every work folder `person` has had, the present one last: the usual one, or what `note_place` was told."""
    usual = work_dir(models, person)
    note = usual / _ELSEWHERE
    lines = note.read_text().splitlines() if note.exists() else ["."]
    return [usual if line == "." else pathlib.Path(line) for line in lines]


def note_place(models: str | os.PathLike, person: str, work: pathlib.Path) -> None:
    """Remember that `person` is now worked on in `work`; former folders stay known, so that deleting finds them."""
    usual = work_dir(models, person)
    known = places(models, person) if usual.exists() else []
    if known == [work] or (not known and work == usual):
        return
    lines = [
        "." if place == usual else str(place)
        for place in [*(place for place in known if place != work), work]
    ]
    write_atomically(usual / _ELSEWHERE, "\n".join(lines).encode())


def people(models: str | os.PathLike) -> list[str]:
    """The names with at least one published version, the bank not among them, sorted."""
    root = pathlib.Path(models)
    if not root.is_dir():
        return []
    names = (
        entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )
    return sorted(name for name in names if name != BANK and versions(root, name))


def versions(models: str | os.PathLike, person: str) -> list[int]:
    """The published versions of `person`, oldest first."""
    folder = pathlib.Path(models) / person
    if not folder.is_dir():
        return []
    return sorted(
        int(entry.name) for entry in folder.iterdir() if entry.name.isdecimal() and entry.is_dir()
    )


@contextlib.contextmanager
def lock(models: str | os.PathLike, name: str, wait: bool = False) -> Iterator[None]:
    """Hold the lock on `name`; a killed holder's lock is free. InputError if it is taken and `wait` is false."""
    folder = pathlib.Path(models) / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        file = open(folder / name, "w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            file.close()
            raise InputError(
                f"{name}: another process is working on it in {models}; wait for it to end"
            ) from None
        if _is_current(file, folder / name):
            break
        file.close()  # its holder removed the person, and the file with it: what we locked is no longer there
    with file:
        yield


def publish(
    models: str | os.PathLike, person: str, write: Callable[[pathlib.Path], None]
) -> pathlib.Path:
    """Let `write(folder)` fill a new version of `person`, then show it in one rename; returns its path.

    The number is one more than the highest there. If `write` raises, nothing appears.
    """
    root = pathlib.Path(models)
    root.mkdir(parents=True, exist_ok=True)
    with lock(root, f"{person}.publishing", wait=True):
        _sweep(root, person)
        staging = pathlib.Path(tempfile.mkdtemp(prefix=f".publishing-{person}-", dir=root))
        try:
            write(staging)
            staging.chmod(
                0o755
            )  # mkdtemp's 0700 would hide the model from a server under another user
            fsync_tree(staging)
            (root / person).mkdir(exist_ok=True)
            version = root / person / str(max(versions(root, person), default=0) + 1)
            os.rename(staging, version)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        fsync(root / person)
        fsync(root)
    return version


def prune(models: str | os.PathLike, person: str, keep: int) -> list[int]:
    """Remove all but the newest `keep` versions of `person`; returns those removed, oldest first."""
    if keep < 1:
        raise InputError(f"--keep_versions={keep}: expected 1 or more; --delete removes a person")
    root = pathlib.Path(models)
    with lock(root, f"{person}.publishing", wait=True):
        removed = versions(root, person)[:-keep]
        for version in removed:
            _remove(root, person, root / person / str(version))
    return removed


def remove_version(models: str | os.PathLike, person: str, version: int) -> bool:
    """Remove one version of `person`; whether it was there. No server may still be told to load it."""
    root = pathlib.Path(models)
    with lock(root, f"{person}.publishing", wait=True):
        path = root / person / str(version)
        if not path.exists():
            return False
        _remove(root, person, path)
    return True


def delete_folders(models: str | os.PathLike, person: str) -> list[str]:
    """Remove every version, the work folder and left-over staging of `person`; returns what was there, in words."""
    root = pathlib.Path(models)
    removed = []
    with lock(root, f"{person}.publishing", wait=True):
        found = versions(root, person)
        if (root / person).exists():
            _remove(root, person, root / person)
            removed.append(
                f"versions {', '.join(map(str, found))}" if found else "an empty model folder"
            )
        if work_dir(root, person).exists():
            _remove(root, person, work_dir(root, person))
            removed.append("the work folder")
        if _sweep(root, person):
            removed.append("unfinished versions")
    for name in (person, f"{person}.publishing"):
        (root / ".locks" / name).unlink(missing_ok=True)
    return removed


def remove_config_entry(models: str | os.PathLike, person: str) -> bool:
    """Take `person` out of <models>/models.config, if it is there; whether it was."""
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    path = pathlib.Path(models) / CONFIG_FILE
    if not path.exists():
        return False
    with lock(models, CONFIG_FILE, wait=True):
        try:
            config = text_format.Parse(
                path.read_text(), model_server_config_pb2.ModelServerConfig()
            )
        except text_format.ParseError as error:
            raise InputError(f"{path}: not a TensorFlow Serving model config ({error})") from error
        entries = config.model_config_list.config
        kept = [entry for entry in entries if entry.name != person]
        if len(kept) == len(entries):
            return False
        del entries[:]
        entries.extend(kept)
        write_atomically(path, text_format.MessageToString(config).encode())
    return True


def _is_current(file, path):
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _remove(root, person, path):
    """Out of sight in one rename, then gone."""
    grave = pathlib.Path(tempfile.mkdtemp(prefix=f".deleted-{person}-", dir=root))
    os.rename(path, grave / "it")
    shutil.rmtree(grave)


def _sweep(root, person):
    """Remove what a killed publisher or remover of `person` left; whether there was anything."""
    # mkdtemp's suffix has no "-", so people whose names begin alike are told apart.
    stale = re.compile(rf"\.(publishing|deleted)-{re.escape(person)}-[^-]+")
    found = [entry for entry in root.iterdir() if stale.fullmatch(entry.name)]
    for entry in found:
        shutil.rmtree(entry)
    return bool(found)
