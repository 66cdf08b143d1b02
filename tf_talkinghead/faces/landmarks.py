"""Detection of 68 face landmarks: the interface LandmarkModel, and its implementation with dlib.

Points are float32 `[68, 2]`, (x, y) in pixels of the image given, the centre of the first pixel at
(0, 0), in iBUG 300-W order (jaw 0-16, brows 17-26, nose 27-35, eyes 36-47, lips 48-67).

Detection is slow (13 ms at 512 px), and the prediction of points in a known square is fast
(0.4 ms). So a face is detected every few frames and followed in between: `follow` derives the
square from the points of the previous frame.

dlib's points depend on the square they are predicted in, and the sizes of the detector's squares
differ by steps of a fifth. So points are refined, however the face was found: they are the mean of
predictions in several squares near `square_of(points)`. The distance between these predictions, the
spread, tells whether the points are reliable: it is 0.3 % of the square's side for most faces, and
2 % or more where half of the points lie on the background, as happens near profile. In that case
other squares are tried, and the result with the least spread is used.

Any object with the methods of LandmarkModel can be used as another source of landmarks.
"""

import importlib.util
import math
import pathlib
import threading
from typing import Protocol

import cv2
import numpy as np

from tf_talkinghead.errors import InputError
from tf_talkinghead.faces.squares import Face, Square, square_of, window

# Faces whose side in pixels lies outside _STEADY_SIDE are resampled to _RESAMPLED_SIDE before
# points are predicted: dlib rounds points to whole pixels, and large faces cost time.
_STEADY_SIDE, _RESAMPLED_SIDE = (150, 400), 200
# Side in pixels to which a known face is resampled to be detected again; the detector needs 80.
_DETECTOR_SIDE = 100
_FIRST_SIDE = 640  # longest side of the image for the first detection
_CNN_SIDE = 640  # longest side for dlib's CNN detector, which takes 2 s at 512 px
# Squares of each refining pass: (right, down) in sides and the relative side. On ten clips these 12
# leave followed points 0.40 % of the eye distance from detected ones; 1, 5 and 9 leave 0.34 % and
# cost a quarter more.
_CROSS = ((-0.03, 0, 0.97), (0.03, 0, 1.03), (0, -0.03, 1.03), (0, 0.03, 0.97))
_RING = tuple(
    (0.045 * math.cos(k * math.pi / 3), 0.045 * math.sin(k * math.pi / 3), (0.96, 1.04)[k % 2])
    for k in range(6)
)
_PASSES = (((0, 0, 1),), _CROSS, ((0, 0, 1), *_RING))
# Squares, in the same form, from which a face with unreliable points is refined again.
_ELSEWHERE = ((0.12, 0, 1), (-0.12, 0, 1), (0, 0.1, 1), (0, -0.1, 1), (0, 0, 0.85), (0, 0, 1.15))
# The detector confirms a face's points if their mean distance from the first prediction in the
# detector's square is below this share of the square's side.
CONFIRMED = 0.02
# Spread from which points are unreliable. Of 53 frames of `train` and `choose` with a spread of
# 0.012 to 0.018, 7 had points more than 2.5 % of the eye distance from those found anew; of 5,536
# with less, 2.
UNSURE = 0.012
# Scores of the detector: faces mostly have 1 to 3, a badge or a fold of cloth 0.05.
_SURE, _UNSURE = 0.25, 0.0


class LandmarkModel(Protocol):
    """Interface of a source of landmarks. Images are uint8 RGB [H, W, 3]."""

    name: str  # stored in the dataset's settings, since other landmarks make another dataset

    def detect(self, image: np.ndarray, near: Face | None = None) -> list[Face]:
        """All faces, largest first.

        With `near`, a face of the previous frame: only faces of about its size, found faster. The
        result contains `near` itself where the detector confirms its points.
        """

    def detect_hard(self, image: np.ndarray, near: Face | None = None) -> list[Face]:
        """All faces, found by a slower and better method; a model without one returns []."""

    def follow(self, image: np.ndarray, points: np.ndarray) -> Face:
        """The face that had `points` in the previous frame."""


class DlibLandmarks:
    """dlib's gradient detector, its CNN detector as the fallback, and a 68-point shape predictor.

    Args:
      model_path: file of a 68-point shape predictor in dlib's format; by default the one of the
        package face_recognition_models, trained on iBUG 300-W, which excludes commercial use.

    Raises:
      InputError: the file is missing or not such a predictor.
    """

    def __init__(self, model_path=None):
        import dlib  # here: it takes a while, and readers of records do not need it

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
        # The detector keeps state while it runs and releases Python's global lock.
        self._detecting = threading.Lock()
        self._cnn = None

    def detect(self, image, near=None):
        grey = _grey(image)
        height, width = grey.shape
        if near is None:
            scale = _FIRST_SIDE / max(height, width)
            found = self._run_detector(grey, min(1.0, scale), _SURE)
            # The detector misses faces under 80 px: run it at twice the size, with a lower score.
            return found or self._run_detector(grey, min(2.0, 2 * scale), _UNSURE)
        scale = min(1.5, _DETECTOR_SIDE / max(near.square.side, 1.0))
        if scale * max(height, width) <= _FIRST_SIDE:
            return self._run_detector(grey, scale, _SURE, near)
        x, y, part = window(grey, near.square, 3.0)
        part = np.ascontiguousarray(part)
        found = self._run_detector(part, scale, _SURE, near.shifted(-x, -y))
        return [face.shifted(x, y) for face in found]

    def detect_hard(self, image, near=None):
        if self._cnn is None:
            path = model_file("mmod_human_face_detector.dat")
            self._cnn = self._dlib.cnn_face_detection_model_v1(str(path))
        x, y, part = (0, 0, image) if near is None else window(image, near.square, 3.0)
        side = _CNN_SIDE if near is None else 3.0 * _DETECTOR_SIDE
        scale = min(1.0, side / max(part.shape[:2]))
        found = self._cnn(_resized(part, scale), 0)
        squares = [_square(item.rect, scale) for item in found]
        faces = self._faces(_grey(part), squares)
        return [face.shifted(x, y) for face in faces]

    def follow(self, image, points):
        return self._refined(_grey(image), square_of(points))

    def detect_plainly(self, image: np.ndarray) -> list[Face]:
        """Faces with dlib's own points: one prediction in the detector's square, for comparison."""
        grey = _grey(image)
        squares = [_square(rect, 1.0) for rect in self._detector(grey, 0)]
        return [Face(square, self._predict(grey, square)) for square in squares]

    def _run_detector(self, grey, scale, least, near=None):
        """Faces that the gradient detector finds with a score of `least`, or _UNSURE by `near`."""
        small = _resized(grey, scale)
        with self._detecting:
            rects, scores, _ = self._detector.run(small, 0, _UNSURE)
        squares = [_square(rect, scale) for rect in rects]
        squares = [
            square
            for square, score in zip(squares, scores, strict=True)
            if score >= least or (near and square.is_by(near.square))
        ]
        return self._faces(grey, squares, near)

    def _faces(self, grey, squares, near=None):
        faces = []
        for square in sorted(squares, key=lambda square: -square.side):
            guess = self._predict(grey, square)
            face = near
            if near is None or _gap(guess, near.points) >= CONFIRMED * near.square.side:
                face = self._refined(grey, square_of(guess))
            faces.append(face)
        return faces

    def _refined(self, grey, square):
        """The face in or near `square` with refined points: the result with the least spread."""
        face = self._passes(grey, square)
        if face.spread >= UNSURE:
            others = [self._passes(grey, square.moved(*move)) for move in _ELSEWHERE]
            near = [other for other in others if other.square.is_by(square)]
            face = min([face, *near], key=lambda face: face.spread)
        return face

    def _passes(self, grey, square):
        """The face after all refining passes from `square`."""
        for moves in _PASSES:
            guesses = np.stack([self._predict(grey, square.moved(*move)) for move in moves])
            points = guesses.mean(axis=0)
            square = square_of(points)
        spread = float(np.linalg.norm(guesses - points, axis=-1).mean()) / square.side
        return Face(square, points, spread)

    def _predict(self, grey, square):
        """The 68 points in one square, float32 [68, 2]."""
        x, y, scale = 0, 0, 1.0
        if not _STEADY_SIDE[0] <= square.side <= _STEADY_SIDE[1]:
            x, y, grey = window(grey, square, 1.6)
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
    """Path of a file of the package face_recognition_models; InputError if it is not installed.

    The package is not imported, since that needs pkg_resources.
    """
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None:
        raise InputError(
            "package face_recognition_models is not installed: pip install face_recognition_models"
        )
    return pathlib.Path(spec.submodule_search_locations[0]) / "models" / name


def _gap(points, others):
    """Mean distance of two faces' points, pixels."""
    return np.linalg.norm(points - others, axis=-1).mean()


def _grey(image):
    """The mean of the channels, dlib's conversion to grey, uint8 [H, W]."""
    return cv2.transform(image, np.full((1, 3), 1 / 3, np.float32))


def _resized(image, scale):
    if scale == 1.0:
        return np.ascontiguousarray(image)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    height, width = image.shape[:2]
    return cv2.resize(
        image, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=how
    )


def _square(rect, scale):
    """The Square of dlib's rectangle in an image resampled by `scale`."""
    x, y = (
        ((a + b) / 2 + 0.5) / scale - 0.5
        for a, b in ((rect.left(), rect.right()), (rect.top(), rect.bottom()))
    )
    return Square(x, y, rect.width() / scale)
