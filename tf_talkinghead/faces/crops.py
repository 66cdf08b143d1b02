"""Face crops: from the frames of a clip or photo to one person's crops and landmarks."""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from tf_talkinghead.config import PreparationConfig
from tf_talkinghead.errors import NoFaceError
from tf_talkinghead.faces import cropping, tracking
from tf_talkinghead.faces.cropping import CropBox
from tf_talkinghead.faces.landmarks import DlibLandmarks, LandmarkModel


@dataclass(frozen=True)
class FaceClip:
    """One person's face through a clip."""

    images: np.ndarray  # uint8 RGB [T, size, size, 3]
    landmarks: np.ndarray  # float32 [T, 68, 2], fractions of the crop
    box: CropBox  # the crop, in pixels of the source
    # int [T], positions of these frames among the frames given; the others do not show the face.
    kept: np.ndarray
    hard_calls: int  # calls of the slow detector
    unsure: int = 0  # frames left out because their landmarks were unreliable


@functools.cache
def default_landmarks(model_path: str | None = None) -> DlibLandmarks:
    """dlib's landmark model, by default with its own 68-point file; loaded once per process."""
    return DlibLandmarks(model_path)


def face_crops(
    frames: Iterable[np.ndarray] | Callable[[], Iterable[np.ndarray]],
    size: int,
    config: PreparationConfig,
    model: LandmarkModel | None = None,
    moments=None,
    largest: int | None = None,
) -> FaceClip:
    """Finds a clip's main face and crops it from each frame that shows it, with one square for all.

    Args:
      frames: uint8 RGB [H, W, 3] of one size (a photo: a list of one). Where keeping them all would
        take too much memory: a function that returns an iterable of them; it is called twice.
      size: side of the crops in pixels; not used with `largest`.
      config: margins of the crop, interval of detection, and limits.
      model: the LandmarkModel; dlib's by default.
      moments: the frames' numbers in the source, where frames were left out.
      largest: where given, the crops keep the square's own size, but at most so many pixels.

    Raises:
      NoFaceError: the clip shows no usable face; the message says why.
    """
    if not callable(frames):
        frames = list(frames)
    again = frames if callable(frames) else lambda: frames
    tracker = tracking.follow_faces(
        again(), model or default_landmarks(), config.detect_every, moments
    )
    main = tracking.main_track(tracker.tracks, tracker.frames, config.least_face_share)
    face_side = main.side
    if face_side < config.min_face_size:
        raise NoFaceError(
            f"face too small: {face_side:.0f} px, at least {config.min_face_size} are needed"
        )
    points = np.stack(main.points)
    box = cropping.crop_box(points, config)
    size = min(box.side, largest) if largest else size
    wanted = set(main.positions)
    images = [
        cropping.crop(frame, box, size)
        for position, frame in enumerate(again())
        if position in wanted
    ]
    fractions = cropping.to_fractions(points, box)
    return FaceClip(
        np.stack(images), fractions, box, np.array(main.positions), tracker.hard_calls, main.unsure
    )
