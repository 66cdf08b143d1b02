"""A clip of a real face without a video file: the portrait, warped to a scripted motion."""

import functools

import cv2
import numpy as np
from skimage import data

from tests.face_points import COLLINS
from tf_talkinghead.driving.scripted_motion import scripted_motion
from tf_talkinghead.evaluation.protocol import PersonClip, Source
from tf_talkinghead.faces.warping import warp

PORTRAIT = data.astronaut()[40:216, 136:312]  # the square whose fractions COLLINS are


@functools.cache
def clip(frames=90, size=96, tint=0):
    """A PersonClip of the moving portrait.

    `tint` makes another "person" by rotating the colour channels.
    """
    portrait = PORTRAIT if not tint else np.roll(PORTRAIT, tint, axis=-1)
    image = cv2.resize(portrait, (size, size), interpolation=cv2.INTER_AREA)
    landmarks = scripted_motion(COLLINS, frames=frames)
    return PersonClip(np.stack([warp(image, COLLINS, points) for points in landmarks]), landmarks)


def source(person, frames=90, size=96, tint=0):

    def part(wanted, positions):
        assert wanted == size
        made = clip(frames, size, tint)
        return PersonClip(made.images[positions], made.landmarks[positions])

    return Source(
        person,
        f"{person}.mp4",
        frames,
        load=lambda wanted, limit: part(wanted, list(range(min(limit, frames)))),
        few=lambda wanted, count: part(wanted, list(range(min(count, frames)))),
    )
