"""Preview of an avatar before it is served: preview.png and preview.mp4, marked as AI-generated.

The picture shows the input images, the same poses rendered (beside them if there are few, else
below), and frames of a scripted motion. The video shows that motion: the head turns, nods, blinks
and talks.
"""

import os
import pathlib

import cv2
import numpy as np
from PIL import Image, PngImagePlugin

from tf_talkinghead import provenance
from tf_talkinghead.data.video import write_video
from tf_talkinghead.driving.scripted_motion import scripted_motion
from tf_talkinghead.images import telling_frames
from tf_talkinghead.personalization.avatar import Avatar, render
from tf_talkinghead.watermark.embedding import SMALLEST, mark_frames
from tf_talkinghead.watermark.pattern import make_pattern

FPS = 12.5
_COLUMNS = 8


def write_preview(
    avatar: Avatar, images: np.ndarray, landmarks: np.ndarray, folder: str | os.PathLike
) -> list[pathlib.Path]:
    """Writes preview.png and preview.mp4 into `folder`.

    Args:
      avatar: the avatar to render.
      images: uint8 [T, H, W, 3], the images it was made from.
      landmarks: [T, 68, 2], fractions.
      folder: created if it does not exist.

    Returns:
      The paths of the picture and the video.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    motion = _rendered(avatar, scripted_motion(avatar.reference_landmarks, fps=FPS))
    film, picture = folder / "preview.mp4", folder / "preview.png"
    mark = {"comment": provenance.MARK}
    write_video(film, (_legible(frame) for frame in motion), FPS, metadata=mark)
    moments = motion[sorted(telling_frames(motion, 2 * _COLUMNS))]
    given, rendered = images[:_COLUMNS], _rendered(avatar, landmarks[:_COLUMNS])
    beside = 2 * len(given) <= _COLUMNS
    rows = [np.concatenate([given, rendered])] if beside else [given, rendered]
    sheet = np.concatenate([_row(row) for row in [*rows, moments[:_COLUMNS], moments[_COLUMNS:]]])
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", mark["comment"])
    partial = folder / ".preview.png"
    Image.fromarray(sheet).save(partial, format="PNG", pnginfo=text)
    os.replace(partial, picture)
    return [picture, film]


def _rendered(avatar, landmarks):
    """Frames with the watermark's id 0, which stands for previews: no version is published yet."""
    frames, size = render(avatar, landmarks), avatar.config.model.image_size
    if not avatar.config.export.watermark or size < SMALLEST:
        return frames
    return mark_frames(frames, make_pattern(), 0)


def _row(frames):
    row = np.concatenate(list(frames), axis=1)
    missing = _COLUMNS * frames.shape[2] - row.shape[1]
    return np.pad(row, ((0, 0), (0, missing), (0, 0)), constant_values=255)


def _legible(frame):
    """The frame, doubled until it is large enough for a player (128 px)."""
    while len(frame) < 128:
        frame = cv2.resize(frame, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    return frame
