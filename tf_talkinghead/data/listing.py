"""Listing of a dataset's input files, with identity and video of each.

The first of these rules that applies is used:

- a manifest: a CSV with the columns `file` (relative to the input), `person_id` and optionally
  `video_id`; only the files it lists are taken;
- a VoxCeleb tree: `[dev/mp4/]idNNNNN/<video>/<utterance>.mp4`;
- any other folder: one sub-folder per person; each file outside a sub-folder is a person.

A clip's name is its path relative to the input, with forward slashes.
"""

import csv
import os
import pathlib
import re
from collections import defaultdict
from typing import NamedTuple

from tf_talkinghead.data import video
from tf_talkinghead.data.photos import PHOTO_SUFFIXES
from tf_talkinghead.errors import InputError

_VOXCELEB = re.compile(r"(?:.*/)?(id\d{5})/([^/]+)/[^/]+")


class Clip(NamedTuple):
    """An input file: its name, and the names of its identity and video."""

    name: str
    identity: str
    video: str


class Rejection(NamedTuple):
    """A file that is left out, and the reason."""

    file: str
    reason: str


def list_clips(root, manifest=None, where: str | None = None) -> tuple[list[Clip], list[Rejection]]:
    """Lists the clips below a folder.

    Args:
      root: the folder.
      manifest: path of a CSV, or None.
      where: `column=value`; keeps only the manifest's rows with that value.

    Returns:
      (clips sorted by name, rejected files with the reason).

    Raises:
      InputError: a missing folder, an unreadable manifest, or nothing to list.
    """
    root = pathlib.Path(root)
    if not root.is_dir():
        raise InputError(f"--input={root}: no such folder")
    if manifest:
        clips, rejected = _from_manifest(root, pathlib.Path(manifest), where)
    elif where:
        raise InputError(f"--where={where} chooses rows of a manifest: give --manifest too")
    else:
        clips, rejected = _from_folders(root)
    kept, twins = _without_twins(clips)
    if not clips and not rejected:
        suffixes = ", ".join(video.VIDEO_SUFFIXES + PHOTO_SUFFIXES)
        raise InputError(f"--input={root}: no video or photo in it (looked for {suffixes})")
    return kept, sorted(rejected + twins)


def who(name: str) -> Clip:
    """The Clip of a file, its identity and video derived from its path relative to the input."""
    voxceleb = _VOXCELEB.fullmatch(name)
    if voxceleb:
        return Clip(name, voxceleb[1], voxceleb[2])
    return Clip(name, name.split("/", 1)[0], name)


def _from_folders(root):
    clips, rejected, walked = [], [], set()

    def refused(error):
        name = pathlib.Path(error.filename).relative_to(root).as_posix()
        rejected.append(Rejection(name, f"folder cannot be read ({error.strerror})"))

    for folder, folders, files in os.walk(root, onerror=refused, followlinks=True):
        if (
            os.path.realpath(folder) in walked
        ):  # a link to a folder already visited, perhaps a cycle
            folders.clear()
            continue
        walked.add(os.path.realpath(folder))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in files:
            name = pathlib.Path(folder, file).relative_to(root).as_posix()
            if file.startswith("."):
                continue
            if video.is_media(file):
                clips.append(who(name))
            else:
                rejected.append(Rejection(name, "not a video or photo by its name"))
    return clips, rejected


def _from_manifest(root, path, where):
    rows = _rows(path)
    if where is not None:
        column, equals, value = where.partition("=")
        if not equals or column not in rows[0]:
            raise InputError(
                f"--where={where}: expected column=value with a column of {path} "
                f"({', '.join(rows[0])})"
            )
        rows = [row for row in rows if row[column] == value]
        if not rows:
            raise InputError(f"--where={where}: no row of {path} has that value")
    clips, rejected, seen, inside = [], [], set(), root.resolve()
    for row in rows:
        name, person = (
            pathlib.PurePosixPath(row["file"] or "").as_posix(),
            (row["person_id"] or "").strip(),
        )
        if ".." in name.split("/") or name.startswith("/"):
            rejected.append(Rejection(name, "outside the input folder"))
        elif not person:
            rejected.append(Rejection(name, "no person_id in the manifest"))
        elif name in seen:
            rejected.append(Rejection(name, "listed twice in the manifest"))
        elif not os.path.isfile(root / name):  # False, too, for a name that no file can have
            rejected.append(Rejection(name, "listed in the manifest, but there is no such file"))
        elif not (root / name).resolve().is_relative_to(inside):
            rejected.append(Rejection(name, "a link that leads outside the input folder"))
        elif not video.is_media(name):
            rejected.append(Rejection(name, "not a video or photo by its name"))
        else:
            clips.append(Clip(name, person, row.get("video_id") or who(name).video))
        seen.add(name)
    return clips, rejected


def _rows(path):
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"--manifest={path}: cannot be read ({error})") from error
    if not rows or not {"file", "person_id"} <= set(rows[0]):
        raise InputError(
            f"--manifest={path}: expected a CSV with the columns file and person_id, "
            "and at least one row"
        )
    return rows


def _without_twins(clips):
    """Rejects files that differ only in their extension, since it is unclear which one is meant."""
    groups = defaultdict(list)
    for clip in clips:
        groups[clip.name.rpartition(".")[0]].append(clip)
    kept = sorted(group[0] for group in groups.values() if len(group) == 1)
    twins = []
    for group in groups.values():
        names = sorted(clip.name for clip in group)
        for name in names if len(names) > 1 else ():
            other = next(other for other in names if other != name)
            twins.append(
                Rejection(name, f"differs from {other} only in its extension: remove one of them")
            )
    return kept, twins
