"""Reading of video and photos, writing of video: uint8 RGB `[H, W, 3]`, upright, square pixels.

A photo (photos.py) is a clip of one frame at 0 frames per second. Rotation, odd sizes, pixels that
are not square and variable frame rates are handled here and nowhere else. A file that cannot be
used raises InputError with the reason.

    clip = read_video("driver.mov")           # frames on an even grid of clip.fps
    write_video("out.mp4", clip.frames, clip.fps, audio_from="driver.mov")
"""

import fractions
import os
import pathlib
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import av
import numpy as np

from tf_talkinghead.data import photos
from tf_talkinghead.data.photos import PHOTO_SUFFIXES
from tf_talkinghead.data.probe import COMPLETE, UNREADABLE, Source, probe, short_reason
from tf_talkinghead.errors import InputError

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".avi", ".gif", ".m4v")


@dataclass(frozen=True)
class Clip:
    """A video or photo opened for reading; `frames` can be iterated over once."""

    frames: Iterator[np.ndarray]  # uint8 RGB [H, W, 3]
    fps: float  # 0 for a photo
    has_audio: bool
    length: int  # number of frames


def is_media(path) -> bool:
    """Whether a file name has the suffix of a video or photo."""
    return pathlib.Path(path).suffix.lower() in PHOTO_SUFFIXES + VIDEO_SUFFIXES


def read_video(path, max_frames: int | None = None) -> Clip:
    """The frames of a video or photo.

    Args:
      path: the file.
      max_frames: at most so many different frames, evenly spaced in time. By default all; a clip of
        variable rate is then resampled to a constant `fps` (frames repeated or left out), so that
        the frames written at `fps` stay in time with the sound.

    Returns:
      A Clip.

    Raises:
      InputError: the file cannot be used; or, while `frames` is read, the file is damaged.
    """
    source = probe(path)
    if max_frames is not None:
        wanted = spread(source.times, max_frames)
    elif source.constant_rate:
        wanted = np.arange(len(source.times))
    else:
        wanted = _even_grid(source)
    return Clip(decode(source, wanted, threads=0), source.fps, source.has_audio, len(wanted))


def decode(source: Source, wanted=None, threads: int = 1) -> Iterator[np.ndarray]:
    """Decoded frames, uint8 RGB [H, W, 3].

    Args:
      source: the result of `probe`.
      wanted: ascending positions, repeats allowed; all by default.
      threads: number of decoder threads; 0 lets the decoder choose.

    Raises:
      InputError: the file is truncated or damaged.
    """
    wanted = np.arange(len(source.times)) if wanted is None else np.asarray(wanted)
    try:
        if source.path.suffix.lower() in PHOTO_SUFFIXES:
            picture = photos.read_photo(source.path)
            yield from (picture for _ in wanted)
        else:
            yield from _decode_video(source, wanted, threads)
    except (*UNREADABLE, MemoryError) as error:
        raise InputError(f"{source.path}: damaged ({short_reason(error)})") from error


def spread(times: np.ndarray, count: int) -> np.ndarray:
    """Positions of at most `count` different frames, evenly spaced in time, int [<= count].

    The first and the last of `times` (seconds, ascending) are among them.
    """
    if len(times) <= count:
        return np.arange(len(times))
    targets = np.linspace(times[0], times[-1], count)
    right = np.clip(np.searchsorted(times, targets), 1, len(times) - 1)
    nearer_left = targets - times[right - 1] <= times[right] - targets
    return np.unique(right - nearer_left)


def write_video(
    path,
    frames: Iterable[np.ndarray],
    fps: float,
    audio_from=None,
    metadata: dict[str, str] | None = None,
):
    """Writes H.264 in an mp4; the file appears complete or not at all.

    Args:
      path: the file.
      frames: uint8 RGB [H, W, 3] of one size; odd sizes are widened by one repeated row or column.
      fps: frames a second.
      audio_from: a film or sound file whose sound is kept, cut to the video's length.
      metadata: keys that mp4 defines (title, comment, artist, ...).

    Raises:
      InputError: no frames, a rate that is not positive, or a path that cannot be written.
    """
    path = pathlib.Path(path)
    rate = fractions.Fraction(fps).limit_denominator(60_000)
    if rate <= 0:
        raise InputError(f"{path}: frames a second must be positive, got {fps}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(suffix=".mp4", prefix=".", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
    try:
        with av.open(partial, "w", options={"movflags": "+faststart"}) as out:
            out.metadata.update(metadata or {})
            sound = _Sound(out, audio_from) if _has_sound(audio_from) else None
            count = _encode_frames(out, frames, rate)
            if count == 0:
                raise InputError(f"{path}: no frames to write")
            if sound:
                sound.copy(count / rate)
        os.chmod(partial, 0o644)
        os.replace(partial, path)
    except OSError as error:  # av.FFmpegError is one
        raise InputError(f"{path}: cannot be written ({short_reason(error)})") from error
    finally:
        pathlib.Path(partial).unlink(missing_ok=True)


def _encode_frames(out, frames, rate):
    stream, count = None, 0
    for frame in frames:
        frame = np.pad(
            frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge"
        )
        if stream is None:
            stream = out.add_stream(
                "libx264", rate=rate, options={"crf": "18", "preset": "veryfast"}
            )
            stream.height, stream.width, stream.pix_fmt = frame.shape[0], frame.shape[1], "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        picture.pts, picture.time_base = count, 1 / rate
        out.mux(stream.encode(picture))
        count += 1
    if stream is not None:
        out.mux(stream.encode())
    return count


def _has_sound(path):
    if path is None:
        return False
    try:
        with av.open(str(path)) as source:
            return bool(source.streams.audio)
    except UNREADABLE as error:
        raise InputError(f"{path}: unreadable ({short_reason(error)})") from error


class _Sound:
    """The sound of another file, encoded as AAC.

    Construct it before the first video frame is written: a container needs all its streams first.
    """

    def __init__(self, out, path):
        self.out, self.path = out, str(path)
        with av.open(self.path) as source:
            self.rate = source.streams.audio[0].rate or 44_100
        self.stream = out.add_stream("aac", rate=self.rate)

    def copy(self, seconds):
        with av.open(self.path) as source:
            resampler = av.AudioResampler(
                format=self.stream.format, layout=self.stream.layout, rate=self.rate
            )
            for frame in source.decode(source.streams.audio[0]):
                if frame.time is not None and frame.time >= seconds:
                    break
                for part in resampler.resample(frame):
                    self.out.mux(self.stream.encode(part))
        self.out.mux(self.stream.encode())


def _decode_video(source, wanted, threads):
    counts = dict(zip(*np.unique(wanted, return_counts=True)))
    last, position, frame = int(wanted[-1]), -1, None
    with av.open(str(source.path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = threads
        aspect = float(stream.sample_aspect_ratio or 1)
        for position, frame in enumerate(container.decode(stream)):
            if position in counts:
                picture = _upright(frame, aspect)
                yield from (picture for _ in range(counts[position]))
            if position >= last:
                return
    # A decoder may hold back a frame or two at the end (edit lists, open groups); more missing is
    # damage.
    if position + 1 < COMPLETE * (last + 1) or frame is None:
        raise InputError(
            f"{source.path}: damaged ({position + 1} of {last + 1} frames can be decoded)"
        )


def _upright(frame, aspect):
    """A decoded frame as RGB, with square pixels, turned as its display matrix asks."""
    width = frame.width
    if 0.2 < aspect < 5 and abs(aspect - 1) > 0.01:
        width = max(1, round(frame.width * aspect))
    picture = frame.to_ndarray(format="rgb24", width=width, height=frame.height)
    return np.ascontiguousarray(np.rot90(picture, round(frame.rotation / 90)))


def _even_grid(source):
    """Position of the frame shown at each time of an even grid, int [duration x fps + 1]."""
    count = round((source.times[-1] - source.times[0]) * source.fps) + 1
    instants = source.times[0] + np.arange(count) / source.fps
    return np.clip(
        np.searchsorted(source.times, instants + 1e-6, side="right") - 1, 0, len(source.times) - 1
    )
