"""Augmentation of an episode: one flip, one affine map and one colour change for all its frames.

The networks learn from what differs between the frames of a clip (pose, expression) and should not
memorise what is constant (face, camera, light). All frames of an episode and their landmarks are
therefore augmented in the same way.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from tf_talkinghead.config import AugmentConfig
from tf_talkinghead.faces.geometry import mirrored

# The largest changes, at strength 1.
# Log of size, log of width / height, degrees, fraction of the image's side.
_SCALE, _ASPECT, _DEGREES, _SHIFT = (0.20, 0.10, 15.0, 0.08)
# Fraction of 255, relative change, relative change, degrees.
_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = (0.15, 0.30, 0.50, 12.0)
_LUMA = np.array([0.299, 0.587, 0.114])
_TO_YIQ = np.array([_LUMA, [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])


@dataclass(frozen=True)
class Variation:
    """Augmentation of one episode.

    Attributes:
      flip: whether the images are mirrored, before the affine map.
      place: float64 [2, 3], affine map from fractions of the (mirrored) image to the output's.
      colour: float64 [3, 4], affine map from RGB in 0..255 to RGB.
    """

    flip: bool
    place: np.ndarray
    colour: np.ndarray

    def image(self, image: np.ndarray) -> np.ndarray:
        """The augmented image, uint8 [S, S, 3]; areas outside the input repeat its border."""
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
        """Landmarks [..., 68, 2] of the augmented image, for those of the original one."""
        return self._placed(mirrored(landmarks) if self.flip else landmarks)

    def pupils(self, pupils: np.ndarray) -> np.ndarray:
        """Pupils [..., 2, 2] of the augmented image, right eye first; NaN stays NaN."""
        if self.flip:
            pupils = pupils[..., ::-1, :] * (-1, 1) + (1, 0)
        return self._placed(pupils)

    def _placed(self, points):
        return (points @ self.place[:, :2].T + self.place[:, 2]).astype(np.float32)


_IDENTITY = np.eye(2, 3)
UNVARIED = Variation(False, _IDENTITY, np.eye(3, 4))


def draw(random: np.random.Generator, config: AugmentConfig) -> Variation:
    """Draws a random Variation within the strengths of `config`.

    The number of draws from `random` is constant, whatever the strengths.
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
