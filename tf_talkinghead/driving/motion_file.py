"""Motion files: expressions over time, as CSV to write by hand and as JSON to save and replay.

A CSV file has a header line with `time` in seconds and any of the parameters of an Expression; the
others keep their neutral value, and an empty gaze is "as in the photo". Example:

    time,jaw,yaw
    0.00,0.0,0
    0.04,0.1,1.5

A JSON file also names its schema and may hold landmarks, one set for each time, and the neutral
landmarks that its numbers are relative to:

    {"schema": 2, "names": ["jaw", ...], "times": [...], "numbers": [[...], ...],
     "landmarks": "eNrt...", "neutral": [...]}

The landmarks are packed (landmark_packing.py); in schema 1 they are lists. One second of motion
takes about 5 KB as JSON and 2 KB as CSV.

Errors are InputErrors that begin with the flag that named the file.
"""

import csv
import json
import math
import pathlib
from dataclasses import astuple, dataclass

import numpy as np

from tf_talkinghead import files
from tf_talkinghead.driving.expression import Expression, checked_numbers
from tf_talkinghead.driving.face_model import GAZE, NAMES
from tf_talkinghead.driving.landmark_packing import pack, unpack
from tf_talkinghead.errors import InputError

SCHEMA = 2
_KNOWN_SCHEMAS = (1, SCHEMA)
LONGEST = 4 * 3600  # seconds of one motion; its film would have a million frames
_DECIMALS = 4
_REST = np.array(astuple(Expression()))


@dataclass(frozen=True)
class Motion:
    """Expressions over time."""

    times: np.ndarray  # float64 [T], seconds, rising
    numbers: np.ndarray  # float64 [T, 16] in the order of NAMES; the gaze may be NaN
    landmarks: np.ndarray | None = None  # float32 [T, 68 or 70, 2], where they were saved too
    neutral: np.ndarray | None = None  # float32 [68, 2], the same face at rest


def read_motion_file(path: str | pathlib.Path, flag: str = "--expression") -> Motion:
    """Reads a motion from a .csv or .json file.

    Args:
      path: the file; its suffix selects the format.
      flag: the command-line flag that named it, for error messages.

    Raises:
      InputError: the file is missing, empty, malformed or of another schema.
    """
    path = pathlib.Path(path)
    readers = {".csv": _from_csv, ".json": _from_json}
    if path.suffix.lower() not in readers:
        raise InputError(f"{flag}: expected a .csv or .json file, got {path.name}")
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise InputError(f"{flag}: {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{flag}: {path}: not a text file") from error
    try:
        return _checked(*readers[path.suffix.lower()](text))
    except InputError as error:
        raise InputError(f"{flag}: {path}: {error}") from error


def write_motion_file(path: str | pathlib.Path, motion: Motion) -> None:
    """Writes a motion atomically as CSV (without landmarks) or JSON, by the file's suffix."""
    path = pathlib.Path(path)
    if path.suffix.lower() == ".csv":
        text = ",".join(("time", *NAMES)) + "\n"
        for time, row in zip(motion.times, motion.numbers):
            text += ",".join(_cell(value) for value in (time, *row)) + "\n"
    elif path.suffix.lower() == ".json":
        tree = {"schema": SCHEMA, "names": NAMES, "times": _listed(motion.times)}
        tree["numbers"] = _listed(motion.numbers)
        if motion.landmarks is not None:
            tree["landmarks"] = pack(motion.landmarks)
        if motion.neutral is not None:
            tree["neutral"] = _listed(motion.neutral)
        text = json.dumps(tree, allow_nan=False, separators=(",", ":")) + "\n"
    else:
        raise InputError(f"motion file: expected a .csv or .json name, got {path.name}")
    files.write_atomically(path, text.encode())


def resampled(motion: Motion, fps: float) -> np.ndarray:
    """The numbers [frames, 16] at an even rate over the motion's time, linear between its rows.

    Between a known and an unknown gaze the result is unknown.

    Args:
      motion: the motion.
      fps: frames per second of the result.

    Raises:
      InputError: a rate that is not above 0, or a motion longer than LONGEST.
    """
    if not (math.isfinite(fps) and fps > 0):
        raise InputError(f"fps: expected a rate above 0, got {fps}")
    span = motion.times[-1] - motion.times[0]
    if span > LONGEST:
        raise InputError(f"time: expected at most {LONGEST} s from first to last, got {span:g}")
    moments = motion.times[0] + np.arange(int(span * fps + 1e-6) + 1) / fps
    columns = [np.interp(moments, motion.times, column) for column in motion.numbers.T]
    return np.stack(columns, axis=-1)


def _from_csv(text):
    rows = [row for row in csv.reader(text.splitlines()) if any(cell.strip() for cell in row)]
    if not rows:
        raise InputError("the file is empty; its first line must name time and numbers")
    names = [name.strip() for name in rows[0]]
    if "time" not in names or len(set(names)) < len(names):
        raise InputError(f"expected a header line with time and each number once, got {rows[0]}")
    table = []
    for line, row in enumerate(rows[1:], 2):
        if len(row) != len(names):
            raise InputError(f"row {line}: expected {len(names)} cells, got {len(row)}")
        table.append([_number(cell, name, line) for cell, name in zip(row, names)])
    values = np.array(table, np.float64).reshape(-1, len(names))
    others = [name for name in names if name != "time"]
    keep = [names.index(name) for name in others]
    return values[:, names.index("time")], others, values[:, keep]


def _from_json(text):
    try:
        tree = files.parse_json(text) if text.strip() else None
    except files.Damaged as error:
        raise InputError(str(error)) from error
    if not isinstance(tree, dict):
        raise InputError(
            "the file is empty; expected a JSON object"
            if tree is None
            else f"expected a JSON object, got {type(tree).__name__}"
        )
    if tree.get("schema") not in _KNOWN_SCHEMAS:
        raise InputError(f"expected schema 1 or {SCHEMA}, got {tree.get('schema')!r}")
    names = tree.get("names")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"names: expected a list of names, got {names!r}")
    times, numbers = _array(tree, "times"), _array(tree, "numbers")
    optional = {key: tree.get(key) for key in ("landmarks", "neutral")}
    for key, value in optional.items():
        if isinstance(value, str) and key == "landmarks":
            optional[key] = unpack(value, times.size)
        elif value is not None:
            optional[key] = _array(tree, key)
    return times, names, numbers, *optional.values()


def _checked(times, names, values, landmarks=None, neutral=None):
    """The Motion of a file's parts; InputError says which is wrong."""
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        raise InputError(f"unknown numbers {', '.join(unknown)}; known are {', '.join(NAMES)}")
    if times.ndim != 1 or not len(times):
        raise InputError("no frames: expected one row of time and numbers or more")
    if values.shape != (len(times), len(names)):
        raise InputError(
            f"numbers: expected [{len(times)}, {len(names)}], got {list(values.shape)}"
        )
    if not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise InputError("time: expected rising seconds, each later than the one before")
    numbers = np.tile(_REST, (len(times), 1))
    numbers[:, [NAMES.index(name) for name in names]] = values
    if landmarks is not None:
        if landmarks.shape not in ((len(times), 68, 2), (len(times), 70, 2)):
            raise InputError(
                f"landmarks: expected [{len(times)}, 68 or 70, 2], got {list(landmarks.shape)}"
            )
        if not np.isfinite(landmarks[:, :68]).all():
            raise InputError("landmarks: the 68 points must be finite")
        landmarks = landmarks.astype(np.float32)
    if neutral is not None:
        if neutral.shape != (68, 2) or not np.isfinite(neutral).all():
            raise InputError(f"neutral: expected finite [68, 2], got {list(neutral.shape)}")
        neutral = neutral.astype(np.float32)
    return Motion(times, checked_numbers(numbers), landmarks, neutral)


def _number(cell, name, line):
    if not cell.strip() and name in GAZE:
        return math.nan
    try:
        return float(cell)
    except ValueError:
        raise InputError(f"row {line}: {name}: expected a number, got {cell!r}") from None


def _array(tree, name):
    """A list of the file as float64; null is NaN."""
    try:
        return np.array(tree.get(name), np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name}: expected rows of numbers of one length") from None


def _cell(value):
    return "" if math.isnan(value) else f"{value:.{_DECIMALS}f}".rstrip("0").rstrip(".")


def _listed(values):
    """Nested lists, NaN as null."""
    rounded = np.round(np.asarray(values, np.float64), _DECIMALS)
    return np.where(np.isnan(rounded), None, rounded.astype(object)).tolist()
