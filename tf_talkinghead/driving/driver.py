"""Driver motion: landmarks and pupils of one face, tracked through a video or photo.

    motion = read_driver("driver.mp4", PreparationConfig())     # 68 smoothed landmarks per frame
    points = on_avatar(motion, AvatarFace.of(card))             # retargeting.py
    result = film(points, client.stream, "out.mp4", motion.fps) # film.py

Frames are uint8 RGB [H, W, 3], landmarks float32 [T, 68, 2] in fractions of the driver's crop.
Video is streamed: only landmarks and pupils (about 560 bytes per frame) are held in memory.
"""

import pathlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from tf_talkinghead.config import PreparationConfig
from tf_talkinghead.data import video
from tf_talkinghead.driving.ahead import ahead
from tf_talkinghead.driving.face_choice import choose_face
from tf_talkinghead.driving.smoothing import smooth
from tf_talkinghead.errors import InputError, NoFaceError
from tf_talkinghead.faces import cropping, geometry, tracking
from tf_talkinghead.faces.crops import default_landmarks
from tf_talkinghead.faces.pupils import blinks, find_pupils

# Frame rate of the video made from a photo.
STILL_FPS = 25.0


@dataclass(frozen=True)
class DriverMotion:
    """The driver's motion over time.

    Attributes:
      path: the video, photo or motion file.
      landmarks: float32 [T, 68, 2], fractions of the crop.
      seen: bool [T], false where no face was found and the last pose is held.
      fps: frames per second.
      neutral: float32 [68, 2], the driver's neutral face, which maps to the avatar's.
      pupils: float32 [T, 2, 2], fractions of the crop, the person's right eye first; NaN where an
        eye is shut or not seen. None where they were not looked for.
      box: the crop, in pixels of the video; None for a motion file.
      has_audio: whether the file has a sound track.
    """

    path: pathlib.Path
    landmarks: np.ndarray
    seen: np.ndarray
    fps: float
    neutral: np.ndarray
    pupils: np.ndarray | None = None
    box: cropping.CropBox | None = None
    has_audio: bool = False


def read_driver(
    path,
    config: PreparationConfig,
    model=None,
    smoothing: bool = True,
    progress: bool = True,
    face: str | None = None,
    neutral: float | None = None,
    gaze: bool = False,
    watch: Callable[[Iterator[np.ndarray], int], Iterator[np.ndarray]] | None = None,
) -> DriverMotion:
    """Tracks one face through a video or photo.

    Which face is tracked, and what happens in frames where that fails:

      frames without a face (lost, covered, turned away so far that the landmarks slip, too dark)
        repeat the last pose and have `seen` false; frames before the first detection repeat it;
      after a cut the face nearest in position and size is tracked, without smoothing over the cut;
      of several faces the one seen longest is tracked; if another is about as large and seen beside
        it about as long, that is an error unless `face` chooses one;
      faces smaller than about 40 pixels are not found.

    Args:
      path: the video or photo.
      config: detection interval and crop settings.
      model: the landmark model; the default one where it is None.
      smoothing: whether landmarks are smoothed (`smoothing.smooth`).
      progress: whether a progress bar is shown on stderr.
      face: which of several faces, see `face_choice.choose_face`; None: the one that lasts longest.
      neutral: seconds into the video at which the face is neutral; None: the frame of the clip
        nearest to rest (`geometry.neutral_frame`).
      gaze: whether pupils are looked for, a millisecond per frame.
      watch: (frames, their number) -> the same frames; an exception it raises ends the reading.

    Returns:
      The DriverMotion.

    Raises:
      InputError: the file cannot be read, `neutral` lies outside it or shows no face, or there is
        no such `face`.
      NoFaceError: no face is found in any frame.
    """
    clip = video.read_video(path)
    fps = clip.fps or STILL_FPS
    _check_neutral(neutral, clip.length, fps)
    frames = ahead(clip.frames)
    frames = tqdm(
        frames if watch is None else watch(frames, clip.length),
        "landmarks",
        clip.length,
        unit=" frames",
        disable=not progress,
        file=sys.stderr,
    )
    try:
        tracker, eyes = track(frames, model, config.detect_every, gaze)
        tracks = choose_face(tracker.tracks, tracker.frames, face)
    except NoFaceError as error:
        raise NoFaceError(f"{path}: {error}") from error
    found = {
        position: (points, eyes.get((id(track), position)))
        for track in tracks
        for position, points in zip(track.positions, track.points)
    }
    seen = np.isin(np.arange(tracker.frames), list(found))
    # Per frame, the index of the latest detection so far, or of the first detection.
    held = np.maximum(np.cumsum(seen) - 1, 0)
    points = np.stack([found[position][0] for position in sorted(found)])
    box = cropping.crop_box(points, config)
    poses = cropping.to_fractions(points, box)
    if smoothing:
        poses = _smoothed(poses, sorted(found), tracks, fps)
    landmarks = poses[held]
    pupils = None
    if gaze:
        pupils = np.stack([found[position][1] for position in sorted(found)])
        pupils[blinks(points)] = np.nan
        pupils = cropping.to_fractions(pupils, box)[held]
        pupils[~seen] = np.nan
    return DriverMotion(
        path=pathlib.Path(path),
        landmarks=landmarks,
        seen=seen,
        fps=fps,
        neutral=landmarks[_neutral_index(landmarks, seen, fps, neutral)],
        pupils=pupils,
        box=box,
        has_audio=clip.has_audio,
    )


def track(frames, model=None, every: int = 5, gaze: bool = False):
    """Tracks all faces through frames, uint8 RGB [H, W, 3] each.

    Args:
      frames: the frames.
      model: the landmark model; the default one where it is None.
      every: frames from one detection to the next.
      gaze: whether pupils are looked for.

    Returns:
      The FaceTracker, and pupils float [2, 2] in pixels by (id of the track, frame).
    """
    model = model or default_landmarks()
    tracker, eyes = tracking.FaceTracker(model, every), {}
    for position, frame in enumerate(frames):
        tracker.step(frame)
        if tracker.hopeless:
            break
        for track in tracker.live if gaze else ():
            if track.positions[-1:] == [position]:
                size = np.array(frame.shape[1::-1])
                fractions = (track.points[-1] + 0.5) / size
                eyes[id(track), position] = (
                    find_pupils(frame[None], fractions[None])[0] * size - 0.5
                )
    return tracker, eyes


def _smoothed(poses, positions, tracks, fps):
    """Poses [S, 68, 2] of the seen frames, smoothed within each unbroken stretch.

    A cut, or a face that was lost and came back, ends a stretch, since the jump is no motion.
    """
    owner = {position: k for k, track in enumerate(tracks) for position in track.positions}
    breaks = [
        i
        for i in range(1, len(positions))
        if positions[i] != positions[i - 1] + 1 or owner[positions[i]] != owner[positions[i - 1]]
    ]
    return np.concatenate([smooth(stretch, fps) for stretch in np.split(poses, breaks)])


def _check_neutral(neutral, frames, fps):
    if neutral is not None and not 0 <= neutral <= (frames - 1) / fps:
        raise InputError(
            f"--neutral={neutral:g}: expected 0 to {(frames - 1) / fps:.2f} seconds, the driver's "
            "length"
        )


def _neutral_index(landmarks, seen, fps, neutral):
    """Index of the neutral frame, one in which the face was seen."""
    if neutral is None:
        shown = np.flatnonzero(seen)
        return int(shown[geometry.neutral_frame(landmarks[shown])])
    index = round(neutral * fps)
    if not seen[index]:
        raise InputError(f"--neutral={neutral:g}: the driver shows no face there")
    return index


def driver_crops(motion: DriverMotion, size: int) -> Iterator[np.ndarray]:
    """The driver's video frames, cropped as the landmarks are, uint8 [size, size, 3]."""
    for frame in video.read_video(motion.path).frames:
        yield cropping.crop(frame, motion.box, size)
