"""Driver motion, read from a video, and the film in which an avatar follows it.

    motion = read_motion("driver.mp4", PreparationConfig())    # 68 smoothed points a frame
    landmarks = on_avatar(motion, card["reference_landmarks"])  # the avatar's own face shape
    result = film(landmarks, client.stream, "out.mp4", motion.fps, audio_from="driver.mp4")

Frames are uint8 RGB [H, W, 3], landmarks float32 [T, 68, 2] in fractions of the driver's crop.
Memory does not grow with the video but for its landmarks (544 bytes a frame).
"""

import pathlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from tqdm import tqdm

from tf_talkinghead import provenance
from tf_talkinghead.config import PreparationConfig
from tf_talkinghead.data import video
from tf_talkinghead.driving import adaptation
from tf_talkinghead.driving.smoothing import smooth
from tf_talkinghead.errors import InputError, NoFaceError, TalkingHeadError
from tf_talkinghead.faces import cropping, geometry, tracking
from tf_talkinghead.faces.crops import default_landmarks
from tf_talkinghead.faces.squares import square_of

# Frame rate of a photo's film.
STILL_FPS = 25.0
# How far from its place, in sides of its square, and how much larger or smaller a face that left
# may return.
RETURN_WITHIN, RETURN_SIZE = (1.0, 1.5)


@dataclass(frozen=True)
class DriverMotion:
    """The driver's landmarks over time.

    landmarks: float32 [T, 68, 2], fractions of the crop. seen: bool [T], false where no face was
    found and the last pose is held. box: the crop, in pixels of the video.
    """

    path: pathlib.Path
    landmarks: np.ndarray
    seen: np.ndarray
    box: cropping.CropBox
    fps: float
    has_audio: bool


def read_motion(
    path, config: PreparationConfig, model=None, smoothing: bool = True, progress: bool = True
) -> DriverMotion:
    """Reads the main face's landmarks in every frame of a video or photo.

    Frames without a face hold the last pose (before the first face: the first).

    Raises:
      InputError: a file that cannot be read.
      NoFaceError: no frame shows a face.
    """
    clip = video.read_video(path)
    frames = tqdm(
        clip.frames, "landmarks", clip.length, unit=" frames", disable=not progress, file=sys.stderr
    )
    try:
        tracker = tracking.follow_faces(frames, model or default_landmarks(), config.detect_every)
        tracks = _same_face(tracking.main_track(tracker.tracks, tracker.frames), tracker.tracks)
    except NoFaceError as error:
        raise NoFaceError(f"{path}: {error}") from error
    found = dict(pair for track in tracks for pair in zip(track.positions, track.points))
    seen = np.isin(np.arange(tracker.frames), list(found))
    # For each frame the newest one seen so far, or the first seen one.
    held = np.maximum(np.cumsum(seen) - 1, 0)
    points = np.stack([found[position] for position in sorted(found)])
    box = cropping.crop_box(points, config)
    poses = cropping.to_fractions(points, box)[held]
    fps = clip.fps or STILL_FPS
    return DriverMotion(
        pathlib.Path(path),
        smooth(poses, fps) if smoothing else poses,
        seen,
        box,
        fps,
        clip.has_audio,
    )


def _same_face(main, tracks):
    """The main face's track and those of its returns.

    They are never in view together, of about the same size, and near the same place.
    """
    chosen, taken = [main], set(main.positions)
    home = square_of(np.median(main.points, axis=0))
    for track in sorted(tracks, key=lambda track: -len(track.points)):
        if not track.points or taken & set(track.positions):
            continue
        square = square_of(np.median(track.points, axis=0))
        off = max(abs(square.x - home.x), abs(square.y - home.y)) / home.side
        if off < RETURN_WITHIN and 1 / RETURN_SIZE < square.side / home.side < RETURN_SIZE:
            chosen.append(track)
            taken |= set(track.positions)
    return chosen


def on_avatar(motion: DriverMotion, reference_landmarks, mode: str = "relative") -> np.ndarray:
    """The driver's motion as landmarks of the avatar whose neutral landmarks are given.

    mode: as `adaptation.adapt` takes it.
    """
    rest = motion.landmarks[motion.seen]
    rest = rest[geometry.neutral_frame(rest)]
    return adaptation.adapt(motion.landmarks, rest, reference_landmarks, mode)


def driver_crops(motion: DriverMotion, size: int) -> Iterator[np.ndarray]:
    """The driver's own frames in the motion's crop, uint8 [size, size, 3]."""
    for frame in video.read_video(motion.path).frames:
        yield cropping.crop(frame, motion.box, size)


@dataclass(frozen=True)
class Film:
    """A film that was written.

    seconds: of rendering and writing. error: what ended it early, None where it is complete.
    """

    path: pathlib.Path
    frames: int
    seconds: float
    error: TalkingHeadError | None


def film(
    landmarks: np.ndarray,
    stream: Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]],
    output,
    fps: float,
    beside: Callable[[int], Iterator[np.ndarray]] | None = None,
    audio_from=None,
    title: str = "",
    progress: bool = True,
) -> Film:
    """Renders landmarks through `stream` and writes an mp4, marked as AI-generated.

    Args:
      landmarks: [T, 68, 2], fractions of the avatar's frame.
      stream: landmarks -> frames in order, as `AvatarClient.stream`.
      output: path of the film.
      fps: frames per second.
      beside: size -> images of that size, shown left of the avatar's.
      audio_from: file whose sound is kept.
      title: for the file's metadata.
      progress: whether a progress bar is shown.

    Returns:
      The film. Where the stream fails half-way (a server gone for good), it ends with what was
      rendered, and its `error` says why.

    Raises:
      TalkingHeadError: the stream failed before the first frame; there is no file then.
    """
    started, failure = time.monotonic(), []

    def frames():
        pictures = picture = None
        begun = False
        try:
            for frame in stream(iter(landmarks)):
                begun = True
                if beside:
                    pictures = pictures or beside(frame.shape[0])
                    # Should the driver's file end early, its last image stays.
                    picture = next(pictures, picture)
                    frame = np.concatenate([picture, frame], axis=1)
                yield frame
        except TalkingHeadError as error:
            if not begun:
                raise
            failure.append(error)

    bar = tqdm(
        frames(), "rendering", len(landmarks), unit=" frames", disable=not progress, file=sys.stderr
    )
    shown = _Counted(bar)
    video.write_video(output, shown, fps, audio_from, {"title": title, "comment": provenance.MARK})
    return Film(
        pathlib.Path(output),
        shown.count,
        time.monotonic() - started,
        failure[0] if failure else None,
    )


class _Counted:
    """Counts the items that an iterator gives."""

    def __init__(self, iterator):
        self.iterator, self.count = iterator, 0

    def __iter__(self):
        for item in self.iterator:
            self.count += 1
            yield item


def record_webcam(path, seconds: float, camera: int = 0, progress: bool = True) -> None:
    """Writes `seconds` of the camera's frames to `path`, at the rate they came in.

    Raises:
      InputError: no camera, or one that gives no frames.
    """
    capture = cv2.VideoCapture(camera)
    frames, started = [], None
    try:
        if not capture.isOpened():
            raise InputError(f"no webcam found (camera {camera}); give a video file as the driver")
        bar = tqdm(
            desc="recording", total=seconds, unit=" s", disable=not progress, file=sys.stderr
        )
        while started is None or time.monotonic() - started < seconds:
            good, frame = capture.read()
            if not good:
                break
            started = started or time.monotonic()
            frames.append(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 95])[1])
            bar.update(round(time.monotonic() - started, 1) - bar.n)
        bar.close()
    finally:
        capture.release()
    if len(frames) < 2:
        raise InputError(f"the webcam (camera {camera}) gave no pictures")
    fps = (len(frames) - 1) / max(time.monotonic() - started, 1e-3)
    decoded = (
        cv2.cvtColor(cv2.imdecode(frame, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB) for frame in frames
    )
    video.write_video(path, decoded, min(max(fps, 1.0), 60.0))
