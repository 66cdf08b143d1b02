"""One-Euro smoothing of landmarks (Casiez, Roussel, Vogel, CHI 2012).

A detector's points tremble by about one per cent of the eye distance from frame to frame. The
filter is a first-order low pass whose cut-off rises with speed: a still face stops trembling, a
blink stays a blink. Eyes and mouth follow more quickly than the rest of the face: a blink lasts
three to five frames, a syllable six. Landmarks are float [68, 2] (or any shape) in fractions of the
crop, one frame at a time or [T, 68, 2].
"""

import numpy as np

from tf_talkinghead.errors import InputError

# Hz at rest; a tremble of one frame keeps a third of its size at 25 frames a second
MINIMUM_CUTOFF = 2.0
SPEED_GAIN = 30.0  # Hz per (crop side / second)
SPEED_CUTOFF = 4.0  # Hz, low pass of the speed itself
# The same for the points of eyes and mouth. With the face's own, a blink of three frames kept 79 %
# of its depth and lips at 5 Hz 67 %; with these 94 and 92 %, and a tremble of one frame keeps two
# thirds of its size instead of a third.
QUICK_SPEED_GAIN = 150.0
QUICK_SPEED_CUTOFF = 10.0
QUICK = slice(36, 68)  # eyes and mouth among the 68 points


def _per_point(usual, quick):
    values = np.full((68, 1), usual)
    values[QUICK] = quick
    return values


FACE = {  # settings of OneEuro for 68 points
    "speed_gain": _per_point(SPEED_GAIN, QUICK_SPEED_GAIN),
    "speed_cutoff": _per_point(SPEED_CUTOFF, QUICK_SPEED_CUTOFF),
}


class OneEuro:
    """Smooths a stream of landmarks, one frame at a time.

    The speed is a point's, not a coordinate's, so that the result does not depend on the axes'
    direction. The settings are numbers, or one for each point: [points, 1], as in FACE.
    """

    def __init__(
        self, fps, minimum_cutoff=MINIMUM_CUTOFF, speed_gain=SPEED_GAIN, speed_cutoff=SPEED_CUTOFF
    ):
        for name, value in (
            ("fps", fps),
            ("minimum_cutoff", minimum_cutoff),
            ("speed_cutoff", speed_cutoff),
        ):
            if not np.all(np.asarray(value) > 0):
                raise InputError(f"{name} must be above 0, got {value}")
        if np.any(np.asarray(speed_gain) < 0):
            raise InputError(f"speed_gain must not be negative, got {speed_gain}")
        self.fps = fps
        self.minimum_cutoff = minimum_cutoff
        self.speed_gain = speed_gain
        self.speed_cutoff = speed_cutoff
        self._position = None
        self._velocity = None

    def __call__(self, points):
        """The smoothed frame, float32 of `points`' shape [..., 2].

        The first frame passes unchanged.
        """
        points = np.asarray(points, np.float64)
        if self._position is None:
            self._position, self._velocity = points, np.zeros_like(points)
            return points.astype(np.float32)
        # As the authors' code: velocity against the last smoothed position, itself smoothed at a
        # fixed cut-off.
        velocity = (points - self._position) * self.fps
        self._velocity = _blend(self._velocity, velocity, self._share(self.speed_cutoff))
        speed = np.linalg.norm(self._velocity, axis=-1, keepdims=True)
        share = self._share(self.minimum_cutoff + self.speed_gain * speed)
        self._position = _blend(self._position, points, share)
        return self._position.astype(np.float32)

    def _share(self, cutoff):
        """How much of the new value a first-order low pass at `cutoff` Hz takes in one frame."""
        return 1.0 / (1.0 + self.fps / (2.0 * np.pi * cutoff))


def smooth(points, fps, **settings):
    """A whole clip [T, 68, 2] through `OneEuro(fps, **FACE)`, or with other settings."""
    points = np.asarray(points)
    one_euro = OneEuro(fps, **FACE | settings)
    return (
        np.stack([one_euro(frame) for frame in points])
        if len(points)
        else points.astype(np.float32)
    )


def _blend(old, new, share):
    return old + share * (new - old)
