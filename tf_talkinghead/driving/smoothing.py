"""One-Euro filter for landmarks (Casiez, Roussel, Vogel, CHI 2012).

Detected landmarks jitter by about 1 % of the eye distance from frame to frame. The filter is a
first-order low pass whose cut-off frequency rises with speed: it removes the jitter of a still face
and preserves blinks. Eyes and mouth have a higher speed gain than the rest of the face, since a
blink lasts three to five frames and a syllable about six. Landmarks are in fractions of the crop,
float [68, 2] per frame (or any [..., 2]) or [T, 68, 2] per clip.
"""

import numpy as np

from tf_talkinghead.errors import InputError

# Cut-off at rest, Hz; jitter of a single frame is reduced to a third at 25 frames per second.
MINIMUM_CUTOFF = 2.0
SPEED_GAIN = 30.0  # Hz per (crop side / second)
SPEED_CUTOFF = 4.0  # Hz, low pass of the speed itself
# The same for eyes and mouth. With the face's settings a blink of three frames kept 79 % of its
# depth and 5-Hz lip motion 67 %; with these 95 % and 91 %, while jitter of a single frame is
# reduced to two thirds instead of a third. 73 % of the jitter of whole clips is left (mean over
# the twelve people that settings are chosen on; 85 % at most).
QUICK_SPEED_GAIN = 200.0
QUICK_SPEED_CUTOFF = 10.0
QUICK = slice(36, 68)  # eyes and mouth among the 68 points


def _per_point(usual, quick):
    values = np.full((68, 1), usual)
    values[QUICK] = quick
    return values


FACE = {  # settings of OneEuro per landmark, [68, 1]
    "speed_gain": _per_point(SPEED_GAIN, QUICK_SPEED_GAIN),
    "speed_cutoff": _per_point(SPEED_CUTOFF, QUICK_SPEED_CUTOFF),
}


class OneEuro:
    """One-Euro filter of a landmark stream, called once per frame.

    Speed is measured per point rather than per coordinate, so that the result does not depend on
    the direction of the axes.

    Args:
      fps: frames per second.
      minimum_cutoff: cut-off at rest, Hz.
      speed_gain: increase of the cut-off with speed, Hz per (crop side / second).
      speed_cutoff: cut-off of the speed's own low pass, Hz.

    All but `fps` are numbers or arrays [points, 1], as in FACE.

    Raises:
      InputError: a value out of range.
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
        """The smoothed landmarks of the next frame, float32 of the same shape [..., 2].

        The first frame is returned unchanged.
        """
        points = np.asarray(points, np.float64)
        if self._position is None:
            self._position, self._velocity = points, np.zeros_like(points)
            return points.astype(np.float32)
        # As in the authors' code: the velocity is taken against the last smoothed position, and is
        # itself low-passed at a fixed cut-off.
        velocity = (points - self._position) * self.fps
        self._velocity = _blend(self._velocity, velocity, self._share(self.speed_cutoff))
        speed = np.linalg.norm(self._velocity, axis=-1, keepdims=True)
        share = self._share(self.minimum_cutoff + self.speed_gain * speed)
        self._position = _blend(self._position, points, share)
        return self._position.astype(np.float32)

    def _share(self, cutoff):
        """Weight of the new value in a first-order low pass at `cutoff` Hz, per frame, in 0..1."""
        return 1.0 / (1.0 + self.fps / (2.0 * np.pi * cutoff))


def smooth(points, fps, **settings):
    """Smooths a whole clip without lag.

    The filter runs over the clip forwards and backwards, and the result is the mean of both: the
    delay of one cancels the advance of the other. One way it lags by 0.25 frames (0.8 at most) on
    the twelve people that settings are chosen on; both ways by 0.0 (`steadiness.py`).

    Args:
      points: float [T, 68, 2], fractions of the crop.
      fps: frames per second.
      **settings: arguments of OneEuro that replace those of FACE.

    Returns:
      float32 [T, 68, 2].
    """
    points = np.asarray(points)
    if not len(points):
        return points.astype(np.float32)

    def one_way(frames):
        one_euro = OneEuro(fps, **FACE | settings)
        return np.stack([one_euro(frame) for frame in frames])

    return (one_way(points) + one_way(points[::-1])[::-1]) / 2.0


def _blend(old, new, share):
    return old + share * (new - old)
