"""The film of an avatar: rendered landmarks, encoded as an mp4 that says it is AI-generated.

    result = film(landmarks, client.stream, "out.mp4", fps=25, audio_from="driver.mp4")

Frames are uint8 RGB [H, W, 3], streamed: rendering and encoding overlap.
"""

import pathlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from tf_talkinghead import provenance
from tf_talkinghead.data import video
from tf_talkinghead.errors import TalkingHeadError


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
    onto: Callable[[np.ndarray], np.ndarray] | None = None,
    audio_from=None,
    title: str = "",
    progress: bool = True,
) -> Film:
    """Renders landmarks through `stream` and writes an mp4, marked as AI-generated.

    Args:
      landmarks: [T, 68, 2], or [T, 70, 2] with the pupils; fractions of the avatar's frame.
      stream: landmarks -> rendered frames in order, as `AvatarClient.stream`.
      output: path of the mp4.
      fps: frames per second.
      beside: size in pixels -> square images of that size, shown to the left of the avatar.
      onto: rendered frame -> the picture to write in its place (`paste_back.Ground.pasted`).
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
                if onto:
                    frame = onto(frame)
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
