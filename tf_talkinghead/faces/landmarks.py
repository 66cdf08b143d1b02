"""The 68 face landmarks: one small interface, and dlib behind it.

Points are float32 `[68, 2]`, (x, y) in pixels of the image given, the centre of the first pixel at
(0, 0), in the iBUG order (METHOD: jaw 0-16, brows 17-26, nose 27-35, eyes 36-47, lips 48-67).

Detecting is slow (13 ms at 512 px) and predicting points in a known square is fast (0.4 ms), so a face is
detected seldom and followed between: `follow` takes the square from the points of the frame before.

dlib's points depend on the square they are sought in, and the detector's squares come in steps of a fifth. So
points are settled, however the face was found: the mean over several squares near the one that the points
themselves ask for. How far the points of those squares lie apart, their spread, tells whether they mean
anything: 0.3 % of the square's side for most faces, and 2 % and more where half of them have slipped onto the
background, as happens near profile. Then the face is sought from other squares, and the surest answer counts.

Another source of landmarks is any object with the methods of LandmarkModel.
"""

import importlib.util
import math
import pathlib
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from tf_talkinghead.errors import InputError

# Fitted on 90 detections in 19 clips: the detector's square seen from the points it leads to, in units
# of the points' root-mean-square distance from their mean.
_SIDE, _RIGHT, _DOWN = 2.762, -0.020, -0.120
_STEADY_SIDE = (
    150,
    400,
)  # pixels; faces outside are resampled to _RESAMPLED_SIDE before points are predicted,
_RESAMPLED_SIDE = 200  # since dlib rounds points to whole pixels, and large ones cost time
_DETECTOR_SIDE = (
    100  # pixels a known face is given when it is detected again; the detector's least is 80
)
_FIRST_SIDE = 640  # longest side of the image in which nothing is known yet
_CNN_SIDE = 640  # longest side for dlib's CNN detector, which takes 2 s at 512 px
# Where points are settled: (right, down) in sides and the relative side of the squares of each pass. On ten clips
# these 12 leave followed points 0.40 % of the eye distance from detected ones; 1, 5 and 9 leave 0.34 % and cost a quarter more.
_CROSS = ((-0.03, 0, 0.97), (0.03, 0, 1.03), (0, -0.03, 1.03), (0, 0.03, 0.97))
_RING = tuple(
    (0.045 * math.cos(k * math.pi / 3), 0.045 * math.sin(k * math.pi / 3), (0.96, 1.04)[k % 2])
    for k in range(6)
)
_PASSES = (((0, 0, 1),), _CROSS, ((0, 0, 1), *_RING))
# The same, where an unsure face is sought again.
_ELSEWHERE = ((0.12, 0, 1), (-0.12, 0, 1), (0, 0.1, 1), (0, -0.1, 1), (0, 0, 0.85), (0, 0, 1.15))
CONFIRMED = 0.02  # of its side, that a face's points may lie from the first guess in the detector's square, on average
UNSURE = (
    0.018  # a spread from which points are not believed; 2 of 666 frames of 173 files, near profile
)
_SURE, _UNSURE = (
    0.25,
    0.0,
)  # scores of the detector: faces mostly have 1 to 3, a badge or a fold of cloth 0.05


class Square(NamedTuple):
    """A face's square in pixels."""

    x: float  # of the centre
    y: float
    side: float


class Face(NamedTuple):
    """A face found in an image."""

    square: Square
    points: np.ndarray  # float32 [68, 2], pixels
    spread: float = (
        0.0  # how far the points would move in a slightly other square, in sides; UNSURE is too far
    )


class LandmarkModel(Protocol):
    """What the rest needs to know about faces. Images are uint8 RGB [H, W, 3]."""

    name: str  # goes into the dataset's settings: other landmarks make another dataset

    def detect(self, image: np.ndarray, near: Face | None = None) -> list[Face]:
        """All faces, largest first; with `near`, those about as large as it, sooner, and where it is confirmed, itself."""

    def detect_hard(self, image: np.ndarray, near: Face | None = None) -> list[Face]:
        """All faces by a slower and better method; an empty list where there is none."""

    def follow(self, image: np.ndarray, points: np.ndarray) -> Face:
        """The face that had `points` a moment ago."""


class DlibLandmarks:
    """dlib's gradient detector, its CNN detector as the fallback, and a 68-point shape predictor.

    `model_path` names another predictor file of 68 points in dlib's format; by default the one of the
    face_recognition_models package, trained on iBUG 300-W, which excludes commercial use.
    """

    def __init__(self, model_path=None):
        import dlib  # here, so that whoever only reads records does not load it

        self._dlib = dlib
        path = (
            pathlib.Path(model_path)
            if model_path
            else model_file("shape_predictor_68_face_landmarks.dat")
        )
        if not path.is_file():
            raise InputError(f"landmark model {path}: no such file")
        try:
            self._predictor = dlib.shape_predictor(str(path))
        except RuntimeError as error:
            raise InputError(
                f"landmark model {path}: not a dlib shape predictor ({error})"
            ) from error
        self.name = path.name
        parts = self._predictor(
            np.zeros((64, 64), np.uint8), dlib.rectangle(8, 8, 56, 56)
        ).num_parts
        if parts != 68:
            raise InputError(f"landmark model {path}: expected 68 points, got {parts}")
        self._detector = dlib.get_frontal_face_detector()
        self._cnn = None

    def detect(self, image, near=None):
        grey = _grey(image)
        height, width = grey.shape
        if near is None:
            found = self._run_detector(grey, min(1.0, _FIRST_SIDE / max(height, width)), _SURE)
            # A face under 80 px escapes the detector: look again in finer pixels, and less sure.
            return found or self._run_detector(
                grey, min(2.0, 2 * _FIRST_SIDE / max(height, width)), _UNSURE
            )
        scale = min(1.5, _DETECTOR_SIDE / max(near.square.side, 1.0))
        if scale * max(height, width) <= _FIRST_SIDE:
            return self._run_detector(grey, scale, _SURE, near)
        x, y, window = _window(grey, near.square, 3.0)
        found = self._run_detector(
            np.ascontiguousarray(window), scale, _SURE, _shifted(near, -x, -y)
        )
        return [_shifted(face, x, y) for face in found]

    def detect_hard(self, image, near=None):
        if self._cnn is None:
            path = model_file("mmod_human_face_detector.dat")
            self._cnn = self._dlib.cnn_face_detection_model_v1(str(path))
        x, y, window = (0, 0, image) if near is None else _window(image, near.square, 3.0)
        side = _CNN_SIDE if near is None else 3.0 * _DETECTOR_SIDE
        scale = min(1.0, side / max(window.shape[:2]))
        found = self._cnn(_resized(window, scale), 0)
        squares = [_square(item.rect, scale) for item in found]
        faces = self._faces(_grey(window), squares)
        return [_shifted(face, x, y) for face in faces]

    def follow(self, image, points):
        return self._settled(_grey(image), square_of(points))

    def detect_plainly(self, image: np.ndarray) -> list[Face]:
        """dlib's own answer, one prediction in the detector's square: what steadier points are measured by."""
        grey = _grey(image)
        squares = [_square(rect, 1.0) for rect in self._detector(grey, 0)]
        return [Face(square, self._predict(grey, square)) for square in squares]

    def _run_detector(self, grey, scale, least, near=None):
        """Faces that the gradient detector finds with a score of `least`; by the face `near` one of _UNSURE will do."""
        rects, scores, _ = self._detector.run(_resized(grey, scale), 0, _UNSURE)
        squares = [_square(rect, scale) for rect in rects]
        squares = [
            square
            for square, score in zip(squares, scores)
            if score >= least or near and _is_by(square, near.square)
        ]
        return self._faces(grey, squares, near)

    def _faces(self, grey, squares, near=None):
        faces = []
        for square in sorted(squares, key=lambda square: -square.side):
            guess = self._predict(grey, square)
            confirmed = (
                near is not None
                and np.linalg.norm(guess - near.points, axis=-1).mean()
                < CONFIRMED * near.square.side
            )
            faces.append(near if confirmed else self._settled(grey, square_of(guess)))
        return faces

    def _settled(self, grey, square):
        """The face in or near `square`, its points settled; of several answers the surest."""
        face = self._passes(grey, square)
        if face.spread >= UNSURE:
            others = [self._passes(grey, _moved(square, *move)) for move in _ELSEWHERE]
            near = [other for other in others if _is_by(other.square, square)]
            face = min([face, *near], key=lambda face: face.spread)
        return face

    def _passes(self, grey, square):
        for moves in _PASSES:
            guesses = np.stack([self._predict(grey, _moved(square, *move)) for move in moves])
            points = guesses.mean(axis=0)
            square = square_of(points)
        spread = float(np.linalg.norm(guesses - points, axis=-1).mean()) / square.side
        return Face(square, points, spread)

    def _predict(self, grey, square):
        """The 68 points in one square, float32 [68, 2]."""
        x, y, scale = 0, 0, 1.0
        if not _STEADY_SIDE[0] <= square.side <= _STEADY_SIDE[1]:
            x, y, grey = _window(grey, square, 1.6)
            scale = _RESAMPLED_SIDE / max(square.side, 1.0)
            grey = _resized(grey, scale)
        # Pixel centres: position p of the image is (p + 1/2) scale - 1/2 of the resampled one.
        cx, cy = ((np.array([square.x - x, square.y - y]) + 0.5) * scale - 0.5).tolist()
        half = square.side * scale / 2
        rect = self._dlib.rectangle(
            round(cx - half), round(cy - half), round(cx + half), round(cy + half)
        )
        shape = self._predictor(np.ascontiguousarray(grey), rect)
        points = np.array([(point.x, point.y) for point in shape.parts()], np.float32)
        return ((points + 0.5) / scale - 0.5 + (x, y)).astype(np.float32)


def model_file(name: str) -> pathlib.Path:
    """A file of the face_recognition_models package, found without importing it (that needs pkg_resources)."""
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None:
        raise InputError(
            "package face_recognition_models is not installed: pip install face_recognition_models"
        )
    return pathlib.Path(spec.submodule_search_locations[0]) / "models" / name


def square_of(points: np.ndarray) -> Square:
    """The square the detector would put round `points` [68, 2]."""
    mean = points.mean(axis=0, dtype=np.float64)
    size = float(np.sqrt(((points - mean) ** 2).sum(axis=1).mean()))
    return Square(float(mean[0]) + _RIGHT * size, float(mean[1]) + _DOWN * size, _SIDE * size)


def _grey(image):
    """The mean of the channels, as dlib makes grey of colour, uint8 [H, W]."""
    return cv2.transform(image, np.full((1, 3), 1 / 3, np.float32))


def _resized(image, scale):
    if scale == 1.0:
        return np.ascontiguousarray(image)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    height, width = image.shape[:2]
    return cv2.resize(
        image, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=how
    )


def _window(image, square, spread):
    """The part of the image within `spread` sides of a square: its left, top and pixels."""
    half = spread * square.side / 2
    height, width = image.shape[:2]
    left, top = (
        int(np.clip(value - half, 0, size - 1))
        for value, size in ((square.x, width), (square.y, height))
    )
    right, bottom = (
        int(np.clip(np.ceil(value + half), 1, size))
        for value, size in ((square.x, width), (square.y, height))
    )
    return left, top, image[top : max(bottom, top + 1), left : max(right, left + 1)]


def _moved(square, right, down, larger):
    return Square(
        square.x + right * square.side, square.y + down * square.side, larger * square.side
    )


def _is_by(square, near):
    return max(abs(square.x - near.x), abs(square.y - near.y)) < near.side / 2


def _square(rect, scale):
    x, y = (
        ((a + b) / 2 + 0.5) / scale - 0.5
        for a, b in ((rect.left(), rect.right()), (rect.top(), rect.bottom()))
    )
    return Square(x, y, rect.width() / scale)


def _shifted(face, x, y):
    square = face.square._replace(x=face.square.x + x, y=face.square.y + y)
    return face._replace(square=square, points=face.points + np.float32([x, y]))
