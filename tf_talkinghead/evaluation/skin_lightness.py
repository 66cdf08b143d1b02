"""Measured skin lightness of the people of an evaluation, and the report's figures by lightness.

    table = by_lightness("reports/report")        # datasets/... as the report names it
    table.people["p023"].angle, table.rows[0].ssim

The measure is the individual typology angle, ITA = arctan((L* - 50) / b*) in degrees, of the
cheeks' CIELAB colour (D65; Chardon, Cretois, Hourseau 1991, Int. J. Cosmetic Science 13), with the
six classes of Del Bino et al. 2006. Nobody is labelled by eye. Videos are not calibrated: light,
exposure and make-up change the angle. So a class says only how light the skin appears *in the
clip*, which is what a renderer has to reproduce.
"""

import dataclasses
import json
import math
import pathlib

import cv2
import numpy as np

from tf_talkinghead.errors import InputError
from tf_talkinghead.evaluation import protocol, results

# Class -> the angle above which it begins, degrees, from light to dark.
CLASSES = {
    "very light": 55.0,
    "light": 41.0,
    "intermediate": 28.0,
    "tan": 10.0,
    "brown": -30.0,
    "dark": -90.0,
}
NO_COLOUR = "not measured"  # black-and-white clips, and skin without a hue
MEASURES = ("ssim", "ssim_face", "l1", "csim", "landmark_error", "blink", "mouth")
_CHEEKS = ((1, 3, 48, 31, 40, 41), (15, 13, 54, 35, 47, 46))  # landmarks around each
_SHARE = 0.6  # each cheek's outline is shrunk to this share, to exclude lid, nostril, lip and ear
_LEAST_PIXELS = 30  # of both cheeks together
_LEAST_B = 3.0  # b* of the cheeks below which they are grey and the angle means nothing
_FRAMES = 8  # of a clip, spread over it; the angle of a person is their median
_SIZE = 256  # pixels of those frames


@dataclasses.dataclass(frozen=True)
class Lightness:
    """The measured skin lightness of one person."""

    angle: float | None  # degrees, -90..90; None where it cannot be measured
    spread: float | None  # degrees between the quartiles over the frames
    frames: int  # number of frames that have an angle

    @property
    def name(self):
        """One of CLASSES, or NO_COLOUR."""
        return NO_COLOUR if self.angle is None else class_of(self.angle)


@dataclasses.dataclass(frozen=True)
class Table:
    """Figures of a report by class of skin lightness."""

    people: dict[str, Lightness]
    rows: list[dict]  # T, method, class, people, and the mean of each of MEASURES
    persons: list[dict]  # T, method, person, class, angle, and each of MEASURES; light before dark


def typology_angle(L, b):
    """ITA in degrees of CIELAB's L* and b*; None where b* is too small for an angle."""
    return math.degrees(math.atan((L - 50) / b)) if b >= _LEAST_B else None


def class_of(angle):
    """The class of an ITA in degrees: "light" is above 41 and up to 55."""
    return next((name for name, above in CLASSES.items() if angle > above), "dark")


def cheek_colour(image, landmarks):
    """Median L* and b* of both cheeks.

    Args:
      image: uint8 RGB [H, W, 3].
      landmarks: float [68, 2], fractions of the image.

    Returns:
      (L*, b*), or None where the cheeks have too few pixels in the image.
    """
    from skimage.color import rgb2lab

    height, width = image.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    for cheek in _CHEEKS:
        outline = np.asarray(landmarks, np.float64)[list(cheek)]
        outline = outline.mean(axis=0) + _SHARE * (outline - outline.mean(axis=0))
        points = np.int32(np.round(outline * (width, height) - 0.5))
        cv2.fillConvexPoly(mask, cv2.convexHull(points), 1)
    pixels = image[mask == 1]
    if len(pixels) < _LEAST_PIXELS:
        return None
    L, _, b = np.median(rgb2lab(pixels[None] / 255.0)[0], axis=0)
    return float(L), float(b)


def measure(clip):
    """Lightness of a `protocol.PersonClip`."""
    colours = [cheek_colour(*pair) for pair in zip(clip.images, clip.landmarks, strict=True)]
    angles = [typology_angle(*colour) for colour in colours if colour]
    angles = [angle for angle in angles if angle is not None]
    if 2 * len(angles) <= len(colours):  # most frames have no colour
        return Lightness(None, None, len(angles))
    low, middle, high = np.percentile(angles, (25, 50, 75))
    return Lightness(round(float(middle), 1), round(float(high - low), 1), len(angles))


def by_lightness(report, data=None, methods=None, shots=None):
    """Measures the people of a report and groups its figures.

    Args:
      report: folder of `scripts.evaluate`, with its report.json.
      data: folder of the dataset or videos; default: the one that the report names.
      methods: names of methods to keep; default: all but the true frames.
      shots: numbers of images T to keep; default: all.

    Returns:
      A Table.

    Raises:
      InputError: the folder has no report, or the report has people that the data do not have.
    """
    path = pathlib.Path(report) / "report.json"
    if not path.is_file():
        raise InputError(
            f"--report={report}: expected a folder of scripts.evaluate, but there is no {path}"
        )
    found = results.Report.from_json(json.loads(path.read_text()))
    rows = [row for row in found.results if row.protocol == results.SELF]
    names = sorted({row.person for row in rows})
    sources = {source.person: source for source in protocol.sources(data or found.about.data)}
    if missing := [name for name in names if name not in sources]:
        raise InputError(f"--data: nobody called {', '.join(missing)}, who are in {path}")
    people = {name: measure(sources[name].few(_SIZE, _FRAMES)) for name in names}
    kept = [row for row in rows if row.method != results.TRUTH]
    kept = [row for row in kept if not methods or row.method in methods]
    kept = [row for row in kept if not shots or row.T in shots]
    persons = [
        {
            "T": row.T,
            "method": row.method,
            "person": row.person,
            "class": people[row.person].name,
            "angle": people[row.person].angle,
            **{name: getattr(row, name) for name in MEASURES},
        }
        for row in sorted(kept, key=lambda row: _place(row, people[row.person].angle))
    ]
    return Table(people, grouped(kept, {name: people[name].name for name in names}), persons)


def _place(row, angle):
    """Sort key of a row: by T and method, from light to dark, those without an angle last."""
    return row.T, row.method, angle is None, -(angle or 0), row.person


def grouped(rows, class_by_person):
    """Means of MEASURES by (T, method, class), in that order, light before dark.

    Args:
      rows: of a Report, or anything with `person`, `T`, `method` and MEASURES.
      class_by_person: {person: class}.
    """
    order = [*CLASSES, NO_COLOUR]
    methods = list(dict.fromkeys(row.method for row in rows))
    groups = {}
    for row in rows:
        key = (row.T or 0, methods.index(row.method), order.index(class_by_person[row.person]))
        groups.setdefault(key, []).append(row)
    return [
        {
            "T": T,
            "method": methods[method],
            "class": order[place],
            "people": len({row.person for row in members}),
            **{name: _mean([getattr(row, name) for row in members]) for name in MEASURES},
        }
        for (T, method, place), members in sorted(groups.items())
    ]


def _mean(values):
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), 4) if known else None
