"""Dataset index `dataset.json`: the content of a prepared dataset, stored beside its shards.

The index is written last and replaced atomically, and readers open only the shards it names, so an
unfinished preparation is never read. It contains no dates or timings: equal data give equal bytes.
A clip's entry has the position of its record, for random access without reading a whole shard.
"""

import dataclasses
import json
import pathlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from tf_talkinghead.data import records
from tf_talkinghead.data.records import FOOTER, HEADER, READABLE, RECORD_SCHEMA, Record
from tf_talkinghead.errors import InputError
from tf_talkinghead.files import read_json

INDEX_NAME = "dataset.json"
_REMEDY = "copy the dataset whole, or prepare it anew"


@dataclass(frozen=True)
class Entry:
    """Position and statistics of one clip.

    Attributes:
      clip: name of the clip.
      video: row of W.
      shard: index into `Dataset.shards`.
      offset, length: byte range of the serialised record in the shard's file.
      frames: T, the number of frames.
      face: median side of the face square in the source, pixels.
      angles: median yaw, pitch and roll, degrees.
      hard_calls: number of calls of the slow detector.
      unsure: frames left out because their landmarks were unreliable.
    """

    clip: str
    video: int
    shard: int
    offset: int
    length: int
    frames: int
    face: float
    angles: tuple[float, float, float]
    hard_calls: int = 0
    unsure: int = 0


@dataclass(frozen=True)
class Dataset:
    """Content of dataset.json, and its folder.

    Attributes:
      folder: where dataset.json and the shards are.
      settings: the preparation settings: size, max_frames, crop_margin, ...
      videos: (identity, video) of each row of W, append-only.
      shards: file names.
      clips: one Entry per clip.
      rejected: number of rejected files.
    """

    folder: pathlib.Path
    settings: dict
    videos: list[tuple[str, str]]
    shards: list[str]
    clips: list[Entry]
    rejected: int

    @property
    def size(self) -> int:
        """Side of a frame in pixels."""
        return self.settings["size"]

    @property
    def identities(self) -> list[str]:
        """Names of all identities, sorted."""
        return sorted({identity for identity, _ in self.videos})

    def read(self, entry: Entry) -> Record:
        """Reads the record of one clip; InputError where it is damaged or not at its place."""
        path = self.folder / self.shards[entry.shard]
        try:
            with open(path, "rb") as file:
                file.seek(entry.offset - HEADER)
                parts = [file.read(count) for count in (HEADER, entry.length, FOOTER)]
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); {_REMEDY}") from error
        head, content, foot = parts
        if len(head) < HEADER or struct.unpack("<Q", head[:8])[0] != entry.length:
            raise InputError(f"{path}: does not match {INDEX_NAME}: {_REMEDY}")
        if foot != records.checksum(content):
            raise InputError(f"{path}: the record of {entry.clip} is damaged: {_REMEDY}")
        return records.parse(content)

    def records(self) -> Iterator[Record]:
        """Iterates over all records, in the order of the shards."""
        return records.read_records(self.folder / name for name in self.shards)


def to_json(dataset: Dataset) -> str:
    """The text of dataset.json: one line per video and per clip."""
    counts = {
        "identities": len(dataset.identities),
        "videos": len(dataset.videos),
        "clips": len(dataset.clips),
        "frames": sum(entry.frames for entry in dataset.clips),
        "unsure_frames_left_out": sum(entry.unsure for entry in dataset.clips),
        "hard_detector_calls": sum(entry.hard_calls for entry in dataset.clips),
        "rejected": dataset.rejected,
    }
    head = {
        "schema": RECORD_SCHEMA,
        "counts": counts,
        "settings": dataset.settings,
        "shards": dataset.shards,
    }
    text = json.dumps(head, indent=1)[:-2]
    columns = [field.name for field in dataclasses.fields(Entry)]
    rows = [json.dumps([getattr(entry, name) for name in columns]) for entry in dataset.clips]
    videos = [json.dumps(video) for video in dataset.videos]
    text += ',\n "videos": [\n  ' + ",\n  ".join(videos) + "\n ]"
    text += f',\n "clip_columns": {json.dumps(columns)},\n "clips": [\n  '
    return text + ",\n  ".join(rows) + "\n ]\n}\n"


def load_dataset(folder) -> Dataset:
    """Reads the dataset that `scripts.prepare_dataset` wrote to `folder`.

    Raises:
      InputError: `folder` has no dataset, or one that is damaged or of another schema.
    """
    folder = pathlib.Path(folder)
    path = folder / INDEX_NAME
    if not path.is_file():
        raise InputError(
            f"{folder}: no {INDEX_NAME} in it: "
            f"make a dataset with python -m scripts.prepare_dataset --output={folder}"
        )
    try:
        tree = read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}; {_REMEDY}") from error
    schema = tree.get("schema")
    if schema not in READABLE:
        raise InputError(
            f"{path}: expected schema {RECORD_SCHEMA}, got {schema!r}: "
            "prepare the dataset anew, in another folder"
        )
    try:
        return _parsed(folder, tree)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: damaged ({type(error).__name__}: {error}); {_REMEDY}") from error


def _is_inside(folder, name):
    """Whether `name` is a file's name, and the file, links followed, lies in `folder` itself."""
    if pathlib.PurePath(name).name != name or "\0" in name:
        return False
    return (folder / name).resolve().parent == folder.resolve()


def _parsed(folder, tree):
    """The Dataset in dataset.json's tree; KeyError, ValueError etc. where it is inconsistent."""
    columns = tree["clip_columns"]
    entries = [Entry(**dict(zip(columns, row, strict=True))) for row in tree["clips"]]
    entries = [dataclasses.replace(entry, angles=tuple(entry.angles)) for entry in entries]
    videos = [(str(identity), str(video)) for identity, video in tree["videos"]]
    shards = [str(name) for name in tree["shards"]]
    outside = [name for name in shards if not _is_inside(folder, name)]
    if outside:
        raise ValueError(f"a shard outside the folder: {outside[0]!r}")
    for entry in entries:
        counts = (entry.video, entry.shard, entry.offset, entry.length, entry.frames)
        known = all(type(count) is int for count in counts) and isinstance(entry.clip, str)
        if not (known and 0 <= entry.video < len(videos) and 0 <= entry.shard < len(shards)):
            raise ValueError(f"clip {entry.clip!r}: no such video or shard")
        placed = HEADER <= entry.offset < 1 << 62 and 0 < entry.length < 1 << 32
        if not placed or entry.frames < 1:
            raise ValueError(f"clip {entry.clip!r}: impossible offset, length or frame count")
    settings, rejected = dict(tree["settings"]), tree["counts"]["rejected"]
    if type(settings["size"]) is not int or type(rejected) is not int:
        raise ValueError("settings.size and counts.rejected must be whole numbers")
    return Dataset(folder, settings, videos, shards, entries, rejected)
