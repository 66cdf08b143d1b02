"""Variation of an episode: one mirror, one affine map and one colour change
for all its frames alike.

What differs between frames of one clip (pose, expression) is what the networks learn from, and what
does not (whose face, which camera, which light) is what they must not memorise: so all frames of an
episode are varied in the same way, and their landmarks with them.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from tf_talkinghead.config import AugmentConfig
from tf_talkinghead.faces.geometry import mirrored

# The largest changes, at strength 1.
# log of size and of width/height; of the picture's side
_SCALE, _ASPECT, _DEGREES, _SHIFT = (0.20, 0.10, 15.0, 0.08)
# of 255; shares; shares; degrees
_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = (0.15, 0.30, 0.50, 12.0)
_LUMA = np.array([0.299, 0.587, 0.114])
_TO_YIQ = np.array([_LUMA, [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])


@dataclass(frozen=True)
class Variation:
    """What is done to one episode."""

    flip: bool
    # float64 [2, 3], from fractions of the (mirrored) picture to those of the varied one
    place: np.ndarray
    colour: np.ndarray  # float64 [3, 4], RGB 0..255 and 1 to RGB

    def image(self, image: np.ndarray) -> np.ndarray:
        """A varied uint8 picture [S, S, 3]; what comes in over the border repeats it."""
        size = image.shape[0]
        if self.flip:
            image = image[:, ::-1]
        if not np.array_equal(self.place, _IDENTITY):
            pixels = self.place.copy()  # positions of pixel centres: fraction x size - 1/2
            pixels[:, 2] = self.place[:, 2] * size + self.place[:, :2].sum(1) / 2 - 0.5
            image = cv2.warpAffine(
                image, pixels, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
            )
        if not np.array_equal(self.colour[:, :3], np.eye(3)) or self.colour[:, 3].any():
            image = cv2.transform(np.ascontiguousarray(image), self.colour)
        return np.ascontiguousarray(image)

    def landmarks(self, landmarks: np.ndarray) -> np.ndarray:
        """The landmarks [..., 68, 2] of the varied picture."""
        return self._placed(mirrored(landmarks) if self.flip else landmarks)

    def pupils(self, pupils: np.ndarray) -> np.ndarray:
        """The pupils [..., 2, 2] of the varied picture, right eye first; NaN stays NaN."""
        if self.flip:
            pupils = pupils[..., ::-1, :] * (-1, 1) + (1, 0)
        return self._placed(pupils)

    def _placed(self, points):
        return (points @ self.place[:, :2].T + self.place[:, 2]).astype(np.float32)


_IDENTITY = np.eye(2, 3)
UNVARIED = Variation(False, _IDENTITY, np.eye(3, 4))


def draw(random: np.random.Generator, config: AugmentConfig) -> Variation:
    """A variation within `config`'s strengths.

    Always takes the same number of draws from `random`.
    """
    flip = random.random() < 0.5
    size, aspect, angle, right, down, bright, contrast, saturation, hue = random.uniform(-1, 1, 9)
    return Variation(
        flip=bool(config.flip and flip),
        place=_place(size, aspect, angle, right, down, config.geometry),
        colour=_colour(bright, contrast, saturation, hue, config.colour),
    )


def _place(size, aspect, angle, right, down, strength):
    """Scale, aspect and rotation about the centre, then a shift, float64 [2, 3] in fractions."""
    if strength == 0:
        return _IDENTITY
    scale = np.exp(strength * _SCALE * size)
    stretch = np.exp(strength * _ASPECT * aspect / 2)
    turn = np.radians(strength * _DEGREES * angle)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    linear = rotation @ np.diag([scale * stretch, scale / stretch])
    centre = np.full(2, 0.5)
    shift = centre - linear @ centre + strength * _SHIFT * np.array([right, down])
    return np.column_stack([linear, shift])


def _colour(bright, contrast, saturation, hue, strength):
    """Hue, saturation, contrast about mid-grey, brightness, float64 [3, 4] on 0..255."""
    if strength == 0:
        return np.eye(3, 4)
    turn, rich = np.radians(strength * _HUE * hue), 1 + strength * _SATURATION * saturation
    chroma = rich * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    yiq = np.eye(3)
    yiq[1:, 1:] = chroma
    gain = 1 + strength * _CONTRAST * contrast
    linear = gain * np.linalg.inv(_TO_YIQ) @ yiq @ _TO_YIQ
    offset = 127.5 * (1 - gain) + 255 * strength * _BRIGHTNESS * bright
    return np.column_stack([linear, np.full(3, offset)])
