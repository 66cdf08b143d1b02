"""Linear face model: 68 landmarks as sixteen parameters, and back.

In head coordinates (frontal, upright, unit the distance between the eyes' centres) a face is the
reference shape plus a linear combination of eight directions, one per parameter in SHAPE:

    points = shape + sum_k value_k * basis_k          [68, 2]; depth is taken from the mean face

`measures` reads the values back as differences of coordinates (lid gap, lip gap, ...), and every
direction changes its own measure by 1 and no other, so reading what was written gives the same
numbers. Head pose is a rigid fit to points that expression hardly moves, which no direction moves.

`face_model.json` holds the numbers; `scripts.fit_face_model` makes it. Pure numpy.
"""

import functools
import json
import pathlib
from dataclasses import dataclass

import numpy as np

from tf_talkinghead.errors import InputError
from tf_talkinghead.faces.geometry import LIPS, PIVOT_DEPTH

SCHEMA = 1
PATH = pathlib.Path(__file__).parent / "face_model.json"

# The parameters of an expression, in the order of arrays and files.
POSE = ("yaw", "pitch", "roll", "x", "y", "scale")
LIDS = ("lid_right", "lid_left")
BROWS = ("brow_right", "brow_left")
LIPS_AND_JAW = ("jaw", "mouth_width", "smile", "pucker")
GAZE = ("gaze_x", "gaze_y")
SHAPE = LIDS + BROWS + LIPS_AND_JAW
NAMES = POSE + SHAPE + GAZE

# Points of the rigid fit: jaw's ends, nose, eye corners. The jaw's ends lie on the visible outline,
# which slides over the head as it turns: they have a smaller weight.
RIGID = np.array([0, 1, 15, 16, 27, 28, 29, 30, 31, 33, 35, 36, 39, 42, 45])
RIGID_WEIGHTS = np.where(np.isin(RIGID, (0, 1, 15, 16)), 0.3, 1.0)
EYE_CORNERS = ((36, 39), (42, 45))
_ROUNDING = 0.5  # how much the mouth narrows when it puckers, for each unit the lips thicken


@dataclass(frozen=True)
class FaceModel:
    """The content of face_model.json."""

    mean: np.ndarray  # float64 [68, 3]: mean face, z towards the camera, 0 at the eye corners
    basis: np.ndarray  # float64 [8, 68, 2]: directions of SHAPE
    ranges: dict[str, tuple[float, float]]  # minimum and maximum of each number of NAMES
    pupils: np.ndarray  # float64 [2]: mean offset from the eye corners' middle, eye widths
    made_of: str  # the data that it was fitted on

    @property
    def depth(self) -> np.ndarray:
        """Depth of the 68 landmarks and both pupils, [70]."""
        eyes = [self.mean[list(corners), 2].mean() for corners in EYE_CORNERS]
        return np.concatenate([self.mean[:, 2], eyes])

    @property
    def neck(self) -> np.ndarray:
        """The point that the head turns about, [3]: behind the middle of the jaw's ends."""
        ends = self.mean[[0, 16]]
        half = (ends[1, 0] - ends[0, 0]) / 2.0
        return np.array([0.0, ends[:, 1].mean(), PIVOT_DEPTH * half])


def measures(shape: np.ndarray) -> np.ndarray:
    """The eight measures [..., 8] of faces [..., 68, 2] in the head's frame, in eye distances.

    In the order of SHAPE: lid gaps, height of the brows over the eyes, gap between the lips, width
    of the mouth (counting what pucker takes from it), height of its corners over the upper lip's
    middle, thickness of the lips.
    """
    x, y = shape[..., 0], shape[..., 1]

    def height(*points):
        return -y[..., list(points)].mean(axis=-1)

    upper, lower = zip(*LIPS)
    thickness = height(50, 51, 52) - height(*upper) + height(*lower) - height(56, 57, 58)
    values = (
        height(37, 38) - height(40, 41),
        height(43, 44) - height(46, 47),
        height(*range(17, 22)),
        height(*range(22, 27)),
        height(*upper) - height(*lower),
        x[..., 54] - x[..., 48] + _ROUNDING * thickness,
        height(48, 54) - height(50, 51, 52),
        thickness,
    )
    return np.stack(values, axis=-1)


@functools.cache
def load_face_model(path: pathlib.Path = PATH) -> FaceModel:
    """The face model of a file, by default the shipped one; InputError for another schema."""
    tree = json.loads(pathlib.Path(path).read_text("utf-8"))
    if tree.get("schema") != SCHEMA:
        raise InputError(f"{path}: expected schema {SCHEMA}, got {tree.get('schema')!r}")
    basis = np.array([tree["basis"][name] for name in SHAPE], np.float64)
    return FaceModel(
        mean=np.array(tree["mean"], np.float64),
        basis=_normalized(basis),
        ranges={name: tuple(tree["ranges"][name]) for name in NAMES},
        pupils=np.array(tree["pupils"], np.float64),
        made_of=tree["made_of"],
    )


def to_json(model: FaceModel) -> str:
    """The text of a face model's file: no dates, so that the same data give the same bytes."""

    def rows(values):
        return json.dumps((np.round(values, 5) + 0.0).tolist())  # + 0.0: no -0.0

    basis = ",\n  ".join(f'"{name}": {rows(row)}' for name, row in zip(SHAPE, model.basis))
    ranges = ",\n  ".join(f'"{name}": {rows(model.ranges[name])}' for name in NAMES)
    return (
        f'{{\n "schema": {SCHEMA},\n "made_of": {json.dumps(model.made_of)},\n'
        f' "mean": {rows(model.mean)},\n "pupils": {rows(model.pupils)},\n'
        f' "ranges": {{\n  {ranges}\n }},\n "basis": {{\n  {basis}\n }}\n}}\n'
    )


def _normalized(basis):
    """The basis [8, 68, 2] recombined so that each direction changes its own measure by 1 alone.

    That holds when it is fitted; rounding in the file changes it by about 1e-5.
    """
    return np.einsum("kj,jpi->kpi", np.linalg.inv(measures(basis)), basis)
