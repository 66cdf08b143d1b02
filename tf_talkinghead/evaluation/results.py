"""Typed results of an evaluation and their JSON: the owner of `result.json` and `report.json`.

A PersonResult holds one Row for each method, T and protocol; `people/<person>/result.json` is one.
A Report holds all people, the means over them and the names of the pictures; `report.json` is one.

    report = Report.from_json(json.loads(path.read_text()))
    report.to_json()["results"][0]["ssim"]

In JSON every field is present; it is null where it does not apply or cannot be measured.
"""

import dataclasses
import hashlib
import pathlib
from dataclasses import dataclass, field

from tf_talkinghead.config import EvaluationConfig
from tf_talkinghead.errors import InputError

REPORT_SCHEMA = 2
SELF = "self"  # protocol: driven by other frames of the same clip
CROSS = "cross"  # driven by another person, landmarks adapted to the avatar's face shape
CROSS_UNADAPTED = "cross_unadapted"  # the same with the driver's landmarks as they are
TRUTH = "truth"  # the "method" whose frames are the true ones


@dataclass(frozen=True, kw_only=True)
class Measures:
    """Figures of one method, means over scored frames; None where one cannot be measured."""

    ssim: float | None = None  # -1..1, against the true frame
    ssim_face: float | None = None  # the same inside the face mask
    psnr: float | None = None  # dB; None also for equal frames, where it is infinite
    psnr_face: float | None = None
    l1: float | None = None  # share of full range, 0..1
    l1_face: float | None = None
    sharpness: float | None = None  # image gradient over the true frame's, 0 and up
    detail: float | None = None  # correlation of high-pass detail with the true frame's, -1..1
    lpips: float | None = None  # learned perceptual distance to the true frame, 0 and up
    csim: float | None = None  # centred cosine of face vectors, -1..1
    face_distance: float | None = None  # dlib's
    same_person: float | None = None  # share of frames whose distance is below 0.6
    rank_1: float | None = None  # share of frames identified as the right person
    landmark_error: float | None = None  # share of the eye distance
    faces_found: float | None = None  # share of frames
    blink: float | None = None  # concordance of eye opening, -1..1
    mouth: float | None = None  # concordance of mouth opening, -1..1
    jitter: float | None = None  # share of the eye distance
    flicker: float | None = None  # share of full range
    learn_seconds: float | None = None  # to learn the person


@dataclass(frozen=True, kw_only=True)
class Row(Measures):
    """One method on one person: `results[]` of `report.json`."""

    person: str
    T: int | None  # images learned from; None for the true frames
    method: str
    protocol: str = SELF
    adapt: str | None = None  # of the cross protocols: "relative" or "none"
    driver: str | None = None  # of the cross protocols: who drives
    per_frame_ssim: list[float] | None = None

    @property
    def label(self):
        """Name of this method and T in file names: "fine_tune_8"."""
        return method_label(self.method, self.T)


@dataclass(frozen=True, kw_only=True)
class SummaryRow(Measures):
    """Means over people for one method, T and protocol."""

    T: int | None
    method: str
    protocol: str
    people: int
    beats_nearest: str | None = None  # "6/8": people whose SSIM is above the nearest frame's
    adapt: str | None = None
    pairs: int | None = None  # of avatar and driver
    csim_wins: str | None = None  # "9/16": pairs for which adaptation has the higher CSIM
    landmark_wins: str | None = None  # and the lower landmark error


@dataclass(frozen=True, kw_only=True)
class SetDistances:
    """Distances between the sets of true and rendered frames of one method and T."""

    method: str
    T: int
    n: int  # frames
    fid: float | None = None
    kid: float | None = None
    face_frechet: float | None = None
    face_kernel: float | None = None


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What could not be measured, and why."""

    person: str
    problem: str


@dataclass(kw_only=True)
class PersonResult:
    """Everything measured on one person. Lists of frames are numbers within the clip."""

    person: str
    clip: str
    frames: int | None = None  # of the clip
    learn: list[int] = field(default_factory=list)  # the first T of them are the T images
    holdout: list[int] = field(default_factory=list)  # scored, ascending
    shots: list[int] = field(default_factory=list)  # the T the clip is long enough for
    results: list[Row] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    history: dict[str, list[dict]] = field(default_factory=dict)  # label -> of fine-tuning
    pictures: list[int] = field(default_factory=list)  # rows of `holdout` kept as PNGs
    worst: dict[str, int] = field(default_factory=dict)  # label -> row of the worst frame
    seconds: float = 0.0

    def to_json(self):
        """The JSON tree."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, tree):
        """The result in a JSON tree; InputError if the tree does not hold one.

        Older files, in which `holdout` is named `judge`, are read too.
        """
        if isinstance(tree, dict) and "judge" in tree:
            tree = tree | {"holdout": tree["judge"]}
        result = _parsed(cls, tree)
        result.results = [_parsed(Row, row) for row in result.results]
        return result

    def own_row(self, method, T):
        """The row of `method` at T driven by the person's own frames, or None."""
        for row in self.results:
            if (row.method, row.T, row.protocol) == (method, T, SELF):
                return row
        return None


@dataclass(frozen=True, kw_only=True)
class About:
    """Origin of the figures: weights, data, settings."""

    weights: str = "none"
    data: str | None = None
    command: str | None = None
    embedding: str | None = None  # what CSIM compares
    inception: str | None = None  # which InceptionV3, or why there is none
    gallery: str | None = None
    size: int | None = None  # pixels
    lpips: str | None = None  # the file of the LPIPS network
    steps: int | None = None  # of fine-tuning, where the command named them
    step: int | None = None  # of the weights
    sha256: str | None = None  # of the weights
    people_trained_on: str | None = None
    face_network_in_loss: str | None = None  # "losses.face = 1" where CSIM's network was a loss
    protocol: EvaluationConfig | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Files of the report, relative to its folder; None where there was nothing to draw."""

    sheets: dict[str, str] = field(default_factory=dict)  # person -> sheet
    worst: str | None = None
    curves: str | None = None  # against T
    steps: str | None = None  # against fine-tuning steps


@dataclass(frozen=True, kw_only=True)
class Report:
    """A whole evaluation."""

    about: About
    people: list[PersonResult]
    summary: list[SummaryRow]
    set_distances: list[SetDistances]
    pictures: Pictures

    @property
    def results(self) -> list[Row]:
        """The rows of all people."""
        return [row for person in self.people for row in person.results]

    @property
    def problems(self) -> list[Problem]:
        """The problems of all people."""
        return [
            Problem(person=person.person, problem=text)
            for person in self.people
            for text in person.problems
        ]

    def to_json(self):
        """The tree of `report.json`: `about`'s fields at the top level, one list of all rows."""
        people = [person.to_json() for person in self.people]
        for tree in people:
            del tree["results"]
        return {
            "schema": REPORT_SCHEMA,
            **dataclasses.asdict(self.about),
            "summary": [dataclasses.asdict(row) for row in self.summary],
            "set_distances": [dataclasses.asdict(row) for row in self.set_distances],
            "problems": [dataclasses.asdict(problem) for problem in self.problems],
            "results": [dataclasses.asdict(row) for row in self.results],
            "people": people,
            "pictures": dataclasses.asdict(self.pictures),
        }

    @classmethod
    def from_json(cls, tree):
        """The inverse of `to_json`; InputError where the tree is no report of this schema."""
        if not isinstance(tree, dict) or tree.get("schema") != REPORT_SCHEMA:
            found = tree.get("schema") if isinstance(tree, dict) else type(tree).__name__
            raise InputError(f"report.json: expected schema {REPORT_SCHEMA}, got {found}")
        rows = [_parsed(Row, row) for row in tree["results"]]
        people = [PersonResult.from_json(person) for person in tree["people"]]
        for person in people:
            person.results = [row for row in rows if row.person == person.person]
        protocol = tree.get("protocol")
        if protocol:
            protocol = _parsed(EvaluationConfig, protocol | {"shots": tuple(protocol["shots"])})
        return cls(
            about=_parsed(About, tree | {"protocol": protocol}),
            people=people,
            summary=[_parsed(SummaryRow, row) for row in tree["summary"]],
            set_distances=[_parsed(SetDistances, row) for row in tree["set_distances"]],
            pictures=_parsed(Pictures, tree["pictures"]),
        )


def method_label(method, T):
    """Name of a method and T, as used in file names and arrays; the true frames have no T."""
    return method if T is None else f"{method}_{T}"


def split_label(label):
    """(method, T) of a label of `method_label` that has a T."""
    method, _, T = label.rpartition("_")
    return method, int(T)


def person_folder(output, person):
    """Folder of a person's results.

    Characters of the name that a file system may not take are replaced, and a hash is then added.
    """
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in person).lstrip(".")
    mark = "" if safe == person else f"-{hashlib.sha256(person.encode()).hexdigest()[:8]}"
    return pathlib.Path(output) / "people" / (safe + mark)


def _parsed(kind, tree):
    """Makes the dataclass `kind` from a JSON object; keys that are not its fields are ignored."""
    if not isinstance(tree, dict):
        raise InputError(f"{kind.__name__}: expected a JSON object, got {type(tree).__name__}")
    names = {item.name for item in dataclasses.fields(kind)}
    try:
        return kind(**{name: value for name, value in tree.items() if name in names})
    except TypeError as error:  # a field without a default is missing
        raise InputError(f"not a result of an evaluation ({error})") from error
