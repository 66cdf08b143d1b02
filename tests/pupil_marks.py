"""Forty pupils marked by hand on real pictures, the reference for measuring the pupil finder.

`pupil_marks.csv` has one row for each eye: the file (relative to the folder that
TALKINGHEAD_REAL_DATA names), the frame of a clip, the eye ("right" is the person's own, landmarks
36-41), the crop square in the picture's pixels, and the pupil's centre as seen in two passes, in
pixels of that square at 256 x 256, the centre of the first pixel at 0. The columns of the first
pass were written down before any finder existed. No person in it is used for training or for the
published tables.

Choice of the eyes: a seeded script drew 218 pictures of 158 people. 24 eyes were taken as drawn,
without shut and unrecognisable ones; 16 were picked among the same pictures for gaze to the side,
up and down, for glasses and for darkness. Both passes were made on 8x enlargements with a grid, the
second in another, shuffled order. One observer made them within minutes of each other, so their
difference is a lower bound of the error of the marks, not an upper bound.
"""

import csv
import pathlib
from typing import NamedTuple

import cv2
import numpy as np

from tf_talkinghead.faces import cropping
from tf_talkinghead.faces.cropping import CropBox

SIZE = 256  # pixels of the square in which the marks are given
_PATH = pathlib.Path(__file__).parent / "pupil_marks.csv"


class Mark(NamedTuple):
    """One marked eye."""

    file: str
    frame: int
    eye: int  # 0 the person's right eye (landmarks 36-41), 1 the left one
    half: str  # "settings" or "report"
    box: CropBox
    passes: np.ndarray  # float64 [2, 2]: pixels of the square at SIZE

    @property
    def centre(self) -> np.ndarray:
        """Mean of the two passes as fractions of the square, [2]."""
        return (self.passes.mean(axis=0) + 0.5) / SIZE


def read_marks() -> list[Mark]:
    """All marks of the file, in its order."""
    with open(_PATH, newline="") as file:
        rows = list(csv.DictReader(file))
    marks = []
    for row in rows:
        box = CropBox(*(int(row[name]) for name in ("box_x", "box_y", "box_side")))
        columns = ("first_x", "first_y", "second_x", "second_y")
        passes = np.array([float(row[name]) for name in columns]).reshape(2, 2)
        eye = ("right", "left").index(row["eye"])
        marks.append(Mark(row["file"], int(row["frame"]), eye, row["half"], box, passes))
    return marks


def picture(folder: pathlib.Path, mark: Mark) -> np.ndarray:
    """The whole picture or frame of a mark, uint8 RGB [H, W, 3]."""
    path = str(folder / mark.file)
    if mark.file.startswith("photos/"):
        return np.ascontiguousarray(cv2.imread(path)[..., ::-1])
    capture = cv2.VideoCapture(path)
    for _ in range(mark.frame + 1):
        found, frame = capture.read()
        assert found, f"{mark.file} has no frame {mark.frame}"
    return np.ascontiguousarray(frame[..., ::-1])


def square(folder: pathlib.Path, mark: Mark) -> np.ndarray:
    """The marked crop, uint8 RGB [256, 256, 3]."""
    return cropping.crop(picture(folder, mark), mark.box, SIZE)
