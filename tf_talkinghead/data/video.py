"""Video and photos in, video out: uint8 RGB `[H, W, 3]` frames, upright, with square pixels.

A photo is a clip of one frame at 0 frames a second. Rotation marks, odd sizes, greyscale, 16-bit and
transparent pictures (shown on white), pixels that are not square and variable frame rates are dealt
with here and nowhere else. Whatever cannot be used raises InputError with a reason fit for a user.

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
from PIL import Image, ImageOps

from tf_talkinghead.errors import InputError

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".avi", ".gif", ".m4v")
MAX_PIXELS = 64_000_000  # of one frame: 8K is 33 million; more is a mistake or a bomb
MAX_FRAMES = 400_000  # of one clip: two hours at 50 frames a second
_COMPLETE = 0.95  # share of the frames a container promises that must be there


@dataclass(frozen=True)
class Source:
    """What a file holds, known without decoding it."""

    path: pathlib.Path
    times: np.ndarray  # seconds of each frame in order of showing, float64 [T]
    fps: float  # average frames a second, 0 for a photo
    has_audio: bool
    constant_rate: bool  # frames are evenly spaced in time


@dataclass(frozen=True)
class Clip:
    """Frames as they are decoded, to be gone through once."""

    frames: Iterator[np.ndarray]  # uint8 RGB [H, W, 3]
    fps: float  # 0 for a photo
    has_audio: bool
    length: int  # frames to come


def is_media(path) -> bool:
    """Whether the name's ending is one that `probe` tries to open."""
    return pathlib.Path(path).suffix.lower() in PHOTO_SUFFIXES + VIDEO_SUFFIXES


def read_video(path, max_frames: int | None = None) -> Clip:
    """The frames of a video or photo.

    Without `max_frames` a clip of variable rate is put on an even grid of `fps` (frames repeated or left
    out), so that writing the frames at `fps` keeps time with the sound. With it, at most that many
    different frames are given, evenly spaced in time.
    """
    source = probe(path)
    if max_frames is not None:
        wanted = spread(source.times, max_frames)
    elif source.constant_rate:
        wanted = np.arange(len(source.times))
    else:
        wanted = _even_grid(source)
    return Clip(decode(source, wanted, threads=0), source.fps, source.has_audio, len(wanted))


def probe(path) -> Source:
    """What `path` holds; reads packets, decodes nothing. InputError says why a file is of no use."""
    path = pathlib.Path(path)
    try:
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        if path.stat().st_size == 0:
            raise InputError(f"{path}: empty file")
        return _probe_photo(path) if path.suffix.lower() in PHOTO_SUFFIXES else _probe_video(path)
    except (
        av.FFmpegError,
        Image.DecompressionBombError,
        OSError,
        ValueError,
        SyntaxError,
    ) as error:
        raise InputError(f"{path}: unreadable ({_short(error)})") from error


def decode(source: Source, wanted=None, threads: int = 1) -> Iterator[np.ndarray]:
    """The frames at the ascending positions `wanted` (repeats allowed, all by default), uint8 RGB [H, W, 3].

    `threads` of the decoder, 0 for as many as it likes. InputError when the file breaks off or is damaged.
    """
    wanted = np.arange(len(source.times)) if wanted is None else np.asarray(wanted)
    try:
        if source.path.suffix.lower() in PHOTO_SUFFIXES:
            picture = _photo(source.path)
            yield from (picture for _ in wanted)
        else:
            yield from _decode_video(source, wanted, threads)
    except (
        av.FFmpegError,
        Image.DecompressionBombError,
        OSError,
        ValueError,
        SyntaxError,
        MemoryError,
    ) as error:
        raise InputError(f"{source.path}: damaged ({_short(error)})") from error


def spread(times: np.ndarray, count: int) -> np.ndarray:
    """Positions of at most `count` different frames, evenly spaced in time from the first to the last, int [<= count]."""
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
    """Write uint8 RGB `[H, W, 3]` frames as H.264 in an mp4, whole or not at all.

    `audio_from` names a file whose sound is kept, cut to the video's length. `metadata` takes the keys an
    mp4 knows (title, comment, artist, ...). Odd sizes are widened by one repeated row or column.
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
            sound = (
                _Sound(out, audio_from)
                if audio_from is not None and probe(audio_from).has_audio
                else None
            )
            count = _encode_frames(out, frames, rate)
            if count == 0:
                raise InputError(f"{path}: no frames to write")
            if sound:
                sound.copy(count / rate)
        os.chmod(partial, 0o644)
        os.replace(partial, path)
    except OSError as error:  # av.FFmpegError is one
        raise InputError(f"{path}: cannot be written ({_short(error)})") from error
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


class _Sound:
    """The sound of another file, encoded anew as AAC. Made before the first video frame: a container takes streams first."""

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


def _probe_photo(path):
    with Image.open(path) as image:
        _check_size(path, *image.size)
    return Source(path, np.zeros(1), 0.0, False, True)


def _probe_video(path):
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise InputError(f"{path}: no video stream")
        stream = container.streams.video[0]
        _check_size(path, stream.codec_context.width, stream.codec_context.height)
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        base, promised = stream.time_base, stream.frames
        stamps = [
            packet.pts if packet.pts is not None else packet.dts
            for packet in container.demux(stream)
            if packet.size
        ]
        has_audio = bool(container.streams.audio)
    if not stamps:
        raise InputError(f"{path}: no frames")
    if len(stamps) < _COMPLETE * promised:
        raise InputError(f"{path}: truncated ({len(stamps)} of {promised} frames)")
    if len(stamps) > MAX_FRAMES:
        raise InputError(
            f"{path}: enormous ({len(stamps)} frames; cut it into clips of at most {MAX_FRAMES})"
        )
    if any(stamp is None for stamp in stamps):
        times = np.arange(len(stamps)) / rate
    else:
        times = np.sort(np.asarray(stamps, np.float64)) * float(base)
    length = times[-1] - times[0]
    fps = round((len(times) - 1) / length, 6) if length > 0 else rate
    gaps = np.diff(times)
    even = len(gaps) == 0 or (gaps.max() < 1.5 / fps and gaps.min() > 0.5 / fps)
    return Source(path, times, float(fps), has_audio, bool(even))


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
    # A decoder may hold back a frame or two at the end (edit lists, open groups); more missing is damage.
    if position + 1 < _COMPLETE * (last + 1) or frame is None:
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


def _photo(path):
    with Image.open(path) as image:
        _check_size(path, *image.size)
        if (
            image.mode.startswith("I") or image.mode == "F"
        ):  # 16 bits and more: Pillow would clip, not scale
            deep = np.asarray(image, np.float64)
            image = Image.fromarray(
                np.clip(deep / 257 if deep.max() > 255 else deep, 0, 255).astype(np.uint8)
            )
        image = ImageOps.exif_transpose(image)
        if "A" in image.getbands() or "transparency" in image.info:
            image = Image.alpha_composite(
                Image.new("RGBA", image.size, "white"), image.convert("RGBA")
            )
        return np.array(image.convert("RGB"))


def _even_grid(source):
    """For each instant of an even grid, the frame on screen then, int [round(duration x fps) + 1]."""
    count = round((source.times[-1] - source.times[0]) * source.fps) + 1
    instants = source.times[0] + np.arange(count) / source.fps
    return np.clip(
        np.searchsorted(source.times, instants + 1e-6, side="right") - 1, 0, len(source.times) - 1
    )


def _check_size(path, width, height):
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{path}: enormous ({width} x {height} pixels; at most {MAX_PIXELS // 1_000_000} million)"
        )
    if width < 1 or height < 1:
        raise InputError(f"{path}: no picture size")


def _short(error):
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__
