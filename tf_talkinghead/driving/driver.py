"""Driver motion: landmarks tracked in a video, and the rendered video of an avatar that follows.

    motion = read_motion("driver.mp4", PreparationConfig())    # 68 smoothed landmarks per frame
    landmarks = on_avatar(motion, card["reference_landmarks"])  # adapted to the avatar's face
    result = film(landmarks, client.stream, "out.mp4", motion.fps, audio_from="driver.mp4")

Frames are uint8 RGB [H, W, 3], landmarks float32 [T, 68, 2] in fractions of the driver's crop.
Video is streamed: only the landmarks (544 bytes per frame) are held in memory.
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

# Frame rate of the video made from a photo.
STILL_FPS = 25.0
# A track counts as the driver's face reappearing within this distance (in sides of the face square)
# and within this ratio of sizes.
RETURN_WITHIN, RETURN_SIZE = (1.0, 1.5)


@dataclass(frozen=True)
class DriverMotion:
    """The driver's landmarks over time.

    Attributes:
      path: the video or photo.
      landmarks: float32 [T, 68, 2], fractions of the crop.
      seen: bool [T], false where no face was found and the last pose is held.
      box: the crop, in pixels of the video.
      fps: frames per second.
      has_audio: whether the file has a sound track.
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
    """Tracks the landmarks of the main face through a video or photo.

    Frames without a face repeat the last detected pose; those before the first detection repeat the
    first pose.

    Args:
      path: the video or photo.
      config: detection interval and crop settings.
      model: the landmark model; the default one where it is None.
      smoothing: whether landmarks are smoothed (`smoothing.smooth`).
      progress: whether a progress bar is shown on stderr.

    Returns:
      The DriverMotion.

    Raises:
      InputError: the file cannot be read.
      NoFaceError: no face is found in any frame.
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
    # Per frame, the index of the latest detection so far, or of the first detection.
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
    """The main face's track, and the tracks in which the same face reappears.

    Such a track never overlaps the others in time and has a similar size and position.
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
    """The driver's motion adapted to an avatar, float32 [T, 68, 2].

    Args:
      motion: the driver's motion; its most neutral detected frame is the driver's reference.
      reference_landmarks: [68, 2], the avatar's neutral landmarks.
      mode: "relative" or "none", see `adaptation.adapt`.
    """
    rest = motion.landmarks[motion.seen]
    rest = rest[geometry.neutral_frame(rest)]
    return adaptation.adapt(motion.landmarks, rest, reference_landmarks, mode)


def driver_crops(motion: DriverMotion, size: int) -> Iterator[np.ndarray]:
    """The driver's video frames, cropped as the landmarks are, uint8 [size, size, 3]."""
    for frame in video.read_video(motion.path).frames:
        yield cropping.crop(frame, motion.box, size)


@dataclass(frozen=True)
class Film:
    """Result of rendering a video.

    Attributes:
      path: the mp4.
      frames: number of frames written.
      seconds: time for rendering and encoding.
      error: what ended the video early; None where it is complete.
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
      stream: landmarks -> rendered frames in order, as `AvatarClient.stream`.
      output: path of the mp4.
      fps: frames per second.
      beside: size in pixels -> square images of that size, shown to the left of the avatar.
      audio_from: file whose sound track is copied.
      title: title in the file's metadata.
      progress: whether a progress bar is shown on stderr.

    Returns:
      The Film. If the stream fails part-way, for example because the server is gone, the video
      ends with the last rendered frame and `error` holds the cause.

    Raises:
      TalkingHeadError: the stream failed before the first frame; no file is written.
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
                    # If the driver's file ends early, its last image is repeated.
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
    """An iterator that counts its items."""

    def __init__(self, iterator):
        self.iterator, self.count = iterator, 0

    def __iter__(self):
        for item in self.iterator:
            self.count += 1
            yield item


def record_webcam(path, seconds: float, camera: int = 0, progress: bool = True) -> None:
    """Records `seconds` of a camera to the video file `path`, at the camera's measured frame rate.

    Raises:
      InputError: there is no such camera, or it delivers no frames.
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
