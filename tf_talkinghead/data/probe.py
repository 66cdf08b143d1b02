"""Probing of a video or photo file without decoding: its frame times, rate and sound."""

import pathlib
from dataclasses import dataclass

import av
import numpy as np
from PIL import Image

from tf_talkinghead.data import photos
from tf_talkinghead.data.photos import PHOTO_SUFFIXES, check_size
from tf_talkinghead.errors import InputError

MAX_FRAMES = 400_000  # of one clip: two hours at 50 frames a second
COMPLETE = 0.95  # share of the frames stated by the container that a usable file must have
# Errors that the libraries raise for a file that cannot be read.
UNREADABLE = (av.FFmpegError, Image.DecompressionBombError, OSError, ValueError, SyntaxError)


@dataclass(frozen=True)
class Source:
    """What is known of a file without decoding it."""

    path: pathlib.Path
    times: np.ndarray  # time of each frame in seconds, in display order, float64 [T]
    fps: float  # average frames a second, 0 for a photo
    has_audio: bool
    constant_rate: bool  # frames are evenly spaced in time


def probe(path) -> Source:
    """Reads a file's packets, without decoding them.

    Raises:
      InputError: the file cannot be used; the message says why.
    """
    path = pathlib.Path(path)
    try:
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        if path.stat().st_size == 0:
            raise InputError(f"{path}: empty file")
        if path.suffix.lower() in PHOTO_SUFFIXES:
            photos.probe_photo(path)
            return Source(path, np.zeros(1), 0.0, False, True)
        return _probe_video(path)
    except UNREADABLE as error:
        raise InputError(f"{path}: unreadable ({short_reason(error)})") from error


def _probe_video(path):
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise InputError(f"{path}: no video stream")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise InputError(f"{path}: no decoder for this video format; convert it to H.264 (mp4)")
        check_size(path, stream.codec_context.width, stream.codec_context.height)
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
    if len(stamps) < COMPLETE * promised:
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


def short_reason(error: Exception) -> str:
    """The first line of an error's text, at most 120 characters."""
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__
