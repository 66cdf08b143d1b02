"""Atomic, versioned model store in TensorFlow Serving's layout.

    <models>/<person>/<version>/     a SavedModel, version a plain integer, newest highest
    <models>/<person>/<version>/SHA256SUMS  digests of its files, checked by the embedded server
    <models>/<person>/.last_version  the highest number ever given, so that no number is given twice
    <models>/.publishing-<person>-*  a version being written; nobody reads names beginning with "."
    <models>/.deleted-<person>-*     a version or person being removed
    <models>/.work/<person>/         files of personalisation: crops, weights, checkpoints, previews
    <models>/.locks/<person>         lock: one process at a time works on a person

A version is written under a hidden name, flushed to the disk and renamed into place; a removal
renames to a hidden name first. A process killed at any moment leaves either the whole version or
none, and the next process removes the remains.
"""

import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Callable

from tf_talkinghead.errors import InputError
from tf_talkinghead.export.bank_files import LEGACY_FILES, VECTORS_FILE
from tf_talkinghead.export.config_file import CONFIG_FILE, versions_in_config
from tf_talkinghead.export.locks import lock
from tf_talkinghead.files import file_sha256, fsync, fsync_tree, write_atomically

BANK = "bank"
DIGESTS_FILE = "SHA256SUMS"
_LAST_VERSION_FILE = ".last_version"
# File in the usual work folder that lists all work folders, one a line; "." is the usual one.
_ELSEWHERE = "elsewhere"
_RESERVED = {BANK, CONFIG_FILE, *LEGACY_FILES}
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,62}[A-Za-z0-9_-])?")


def check_name(person: str) -> str:
    """Returns `person` if it can name a folder and a model; InputError if unsafe or reserved."""
    if not _NAME.fullmatch(person):
        raise InputError(
            f"--person={person!r}: expected 1 to 64 letters, digits, '_', '-' or '.' (ASCII), "
            "not beginning with '.' or '-'"
        )
    if person.lower() in _RESERVED:
        raise InputError(f"--person={person!r}: the name is reserved; choose another")
    return person


def work_dir(models: str | os.PathLike, person: str) -> pathlib.Path:
    """The usual work folder of `person`, where personalisation keeps what it may need again."""
    return pathlib.Path(models) / ".work" / person


def places(models: str | os.PathLike, person: str) -> list[pathlib.Path]:
    """Every work folder `person` has had, the current one last; see `note_place`."""
    usual = work_dir(models, person)
    note = usual / _ELSEWHERE
    lines = note.read_text().splitlines() if note.exists() else ["."]
    return [usual if line == "." else pathlib.Path(line) for line in lines]


def note_place(models: str | os.PathLike, person: str, work: pathlib.Path) -> None:
    """Records `work` as the work folder of `person`; former ones stay recorded, for deletion."""
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
    """The names with at least one published version, sorted, without the bank."""
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


def versions_lock(models: str | os.PathLike, person: str):
    """The lock under which versions of `person` appear, disappear or have a file replaced."""
    return lock(models, f"{person}.publishing", wait=True)


def publish(
    models: str | os.PathLike, person: str, write: Callable[[pathlib.Path, int], None]
) -> pathlib.Path:
    """Publishes a new version in one rename.

    Args:
      models: folder of all models.
      person: name of the model.
      write: `write(folder, version)` fills the version's folder; if it raises, nothing appears.

    Returns:
      The version's folder. Its number is one more than the highest ever given to `person`, even if
      that version has been removed: a server or client that still holds a version never finds
      another one under its number.
    """
    root = pathlib.Path(models)
    root.mkdir(parents=True, exist_ok=True)
    last = root / person / _LAST_VERSION_FILE
    with versions_lock(root, person):
        _sweep(root, person)
        staging = pathlib.Path(tempfile.mkdtemp(prefix=f".publishing-{person}-", dir=root))
        try:
            number = 1 + max([_recorded(last), *versions(root, person)])
            write(staging, number)
            write_digests(staging)
            # mkdtemp's 0700 would hide the model from a server that runs as another user.
            staging.chmod(0o755)
            fsync_tree(staging)
            (root / person).mkdir(exist_ok=True)
            version = root / person / str(number)
            os.rename(staging, version)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        fsync(root / person)
        fsync(root)
        write_atomically(last, f"{number}\n".encode())
    return version


def prune(models: str | os.PathLike, person: str, keep: int) -> list[int]:
    """Removes all but the newest `keep` versions; returns the removed numbers, oldest first.

    A version that models.config names, such as the one `stable` points at, stays.
    """
    if keep < 1:
        raise InputError(f"--keep_versions={keep}: expected 1 or more; --delete removes a person")
    root = pathlib.Path(models)
    with versions_lock(root, person):
        named = versions_in_config(root, person)
        removed = [version for version in versions(root, person)[:-keep] if version not in named]
        for version in removed:
            _remove(root, person, root / person / str(version))
    return removed


def remove_version(models: str | os.PathLike, person: str, version: int) -> bool:
    """Removes one version of `person`; returns whether it was there.

    The caller makes sure first that models.config tells no server to load it.
    """
    root = pathlib.Path(models)
    with versions_lock(root, person):
        path = root / person / str(version)
        if not path.exists():
            return False
        _remove(root, person, path)
    return True


def delete_folders(models: str | os.PathLike, person: str) -> list[str]:
    """Removes all versions, finished or not, and the work folder; returns what was removed."""
    root = pathlib.Path(models)
    removed = []
    with versions_lock(root, person):
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


def unfinished(models: str | os.PathLike, person: str) -> list[pathlib.Path]:
    """The hidden folders of publishers and removers of `person`, running or killed."""
    # mkdtemp's suffix has no "-", which tells names with a common beginning apart.
    hidden = re.compile(rf"\.(publishing|deleted)-{re.escape(person)}-[^-]+")
    root = pathlib.Path(models)
    return (
        [entry for entry in root.iterdir() if hidden.fullmatch(entry.name)] if root.is_dir() else []
    )


def remove_unfinished(models: str | os.PathLike, person: str) -> bool:
    """Removes what killed publishers of `person` left; returns whether there was anything."""
    with versions_lock(models, person):
        return _sweep(pathlib.Path(models), person)


def write_digests(folder: pathlib.Path) -> None:
    """Writes SHA256SUMS of a version's files, in the format of `sha256sum`.

    A bank's member file is left out: people join and leave in it, and it has its own checksums.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [
        f"{file_sha256(path)}  {path.relative_to(folder).as_posix()}\n"
        for path in paths
        if path.name != VECTORS_FILE
    ]
    write_atomically(folder / DIGESTS_FILE, "".join(lines).encode())


def check_digests(folder: str | os.PathLike) -> None:
    """Compares a version's files with its SHA256SUMS; a version without that file passes.

    Without this check a flipped bit in a graph's constants would change the picture with no error.

    Raises:
      InputError: a file is missing or was changed after publishing; the message names it.
    """
    folder = pathlib.Path(folder)
    path = folder / DIGESTS_FILE
    if not path.is_file():
        return
    for line in path.read_text(errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        try:
            sound = file_sha256(folder / name) == digest
        except (OSError, ValueError):
            sound = False
        if not sound:
            raise InputError(
                f"{folder / name}: damaged (not as {DIGESTS_FILE} says): publish the version again"
            )


def _recorded(path):
    """The number in a .last_version file; 0 where there is none, or a damaged one."""
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return 0


def _remove(root, person, path):
    """Hides `path` in one rename, then removes it."""
    grave = pathlib.Path(tempfile.mkdtemp(prefix=f".deleted-{person}-", dir=root))
    os.rename(path, grave / "it")
    shutil.rmtree(grave)


def _sweep(root, person):
    """Removes what killed publishers and removers of `person` left; whether there was anything."""
    found = unfinished(root, person)
    for entry in found:
        shutil.rmtree(entry)
    return bool(found)
