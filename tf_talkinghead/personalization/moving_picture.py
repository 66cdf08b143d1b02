"""Animated WebP of an avatar's film beside the drawing that drives it, marked as AI-generated."""

import os
import pathlib

import numpy as np
from PIL import Image

from tf_talkinghead import files, provenance
from tf_talkinghead.data.drawing import draw_landmarks
from tf_talkinghead.data.video import read_video
from tf_talkinghead.driving.expression import express_motion
from tf_talkinghead.driving.motion_file import read_motion_file, resampled
from tf_talkinghead.errors import InputError


def write_moving_picture(film, motion, card, output, quality=70) -> int:
    """Writes an animated WebP with the landmark drawing on the left and the film on the right.

    Args:
      film: path of an avatar's film with square frames.
      motion: path of the motion file it was made from, CSV or JSON.
      card: path of the avatar's card.json.
      output: the .webp to write.
      quality: of the WebP, 1 to 100.

    Returns:
      The number of frames.

    Raises:
      InputError: a film or motion file that cannot be used, or with different numbers of frames.
    """
    output = pathlib.Path(output)
    if output.suffix.lower() != ".webp":
        raise InputError(f"--output={output}: expected a .webp")
    moved = read_motion_file(motion, "--motion")
    try:
        reference = np.array(files.read_json(card)["reference_landmarks"])
    except (files.Damaged, KeyError, OSError) as error:
        raise InputError(
            f"--card={card}: expected the card.json of an avatar with reference_landmarks ({error})"
        ) from error
    source = read_video(film)
    frames = np.stack(list(source.frames))
    numbers = resampled(moved, source.fps)
    if len(frames) != len(numbers):
        raise InputError(
            f"--motion={motion}: {len(numbers)} poses at {source.fps:g} a second, and the film has "
            f"{len(frames)} frames; expected the --expression of this film"
        )
    drawn = draw_landmarks(express_motion(reference, numbers)[:, :68], frames.shape[1]).numpy()
    pictures = [
        Image.fromarray(np.concatenate([np.uint8(255 * drawing), frame], axis=1))
        for drawing, frame in zip(drawn, frames, strict=True)
    ]
    partial = output.with_name(f".{output.name}")
    output.parent.mkdir(parents=True, exist_ok=True)
    pictures[0].save(
        partial,
        format="WEBP",
        save_all=True,
        append_images=pictures[1:],
        duration=round(1000 / source.fps),
        loop=0,
        quality=quality,
        method=6,
        xmp=provenance.XMP.encode() if isinstance(provenance.XMP, str) else provenance.XMP,
    )
    os.replace(partial, output)
    return len(frames)
