"""Contact sheet of a rendered video: the input images above evenly spaced output frames."""

import pathlib

import cv2
import numpy as np
from PIL import Image, ImageDraw

from tf_talkinghead.data import video
from tf_talkinghead.images import telling_frames

CELL, COLUMNS, ROWS = 192, 8, 3  # side of a cell in pixels; columns and rows of output frames
_INPUTS = 3  # at most, so that they fit into one row beside the title
_PAPER, _INK = (255, 255, 255), (40, 40, 40)


def write_contact_sheet(path, film, images) -> pathlib.Path:
    """Writes a PNG with up to three input images above 24 timestamped frames of a video.

    Args:
      path: the PNG to write.
      film: the rendered video; one frame is taken from each of its 24 equal parts.
      images: paths of photos, videos (the first frame is shown) or folders of them.

    Returns:
      The path of the PNG.

    Raises:
      InputError: a file cannot be read.
    """
    path = pathlib.Path(path)
    inputs = [
        next(iter(video.read_video(file, max_frames=1).frames)) for file in _files(images)[:_INPUTS]
    ]
    wanted = telling_frames(video.read_video(film).frames, COLUMNS * ROWS)
    clip = video.read_video(film)
    frames = [(t, frame) for t, frame in enumerate(clip.frames) if t in wanted]
    sheet = Image.new("RGB", (COLUMNS * CELL, CELL + -(-len(frames) // COLUMNS) * CELL), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, picture in enumerate(inputs):
        sheet.paste(Image.fromarray(_fitted(picture)), (column * CELL, 0))
    text = f"left: input images\nbelow: {clip.length} frames at {clip.fps:g} a second, AI-generated"
    draw.text((len(inputs) * CELL + 16, CELL // 2 - 12), text, _INK)
    for place, (t, frame) in enumerate(frames):
        corner = (place % COLUMNS * CELL, CELL + place // COLUMNS * CELL)
        sheet.paste(Image.fromarray(_fitted(frame)), corner)
        draw.text(
            (corner[0] + 5, corner[1] + 4),
            f"{t / clip.fps:.1f} s",
            _PAPER,
            stroke_width=2,
            stroke_fill=_INK,
        )
    sheet.save(path)
    return path


def _files(images):
    """The photos and videos among `images`; folders are replaced by their content."""
    found = []
    for image in map(pathlib.Path, images):
        found += sorted(image.iterdir()) if image.is_dir() else [image]
    return [file for file in found if video.is_media(file)]


def _fitted(picture):
    """The picture scaled to fit a white CELL x CELL square, uint8 RGB."""
    scale = CELL / max(picture.shape[:2])
    size = [max(1, round(length * scale)) for length in picture.shape[1::-1]]
    cell = np.full((CELL, CELL, 3), 255, np.uint8)
    top, left = (CELL - size[1]) // 2, (CELL - size[0]) // 2
    cell[top : top + size[1], left : left + size[0]] = cv2.resize(
        picture, size, interpolation=cv2.INTER_AREA
    )
    return cell
