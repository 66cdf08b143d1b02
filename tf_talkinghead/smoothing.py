"""One-Euro smoothing of landmarks (Casiez, Roussel, Vogel, CHI 2012).

A detector's points tremble by about one per cent of the eye distance from frame to frame. The filter is
a first-order low pass whose cut-off rises with speed: a still face stops trembling, a blink stays a blink.
Landmarks are float [68, 2] (or any shape) in fractions of the crop, one frame at a time or [T, 68, 2].
"""

import numpy as np

from tf_talkinghead.errors import InputError

MINIMUM_CUTOFF = 2.0  # Hz at rest; a tremble of one frame keeps a third of its size at 25 frames a second
SPEED_GAIN = 30.0  # Hz per (crop side / second); eyelids close at about 0.2, which opens the filter to 8 Hz
SPEED_CUTOFF = 4.0  # Hz, low pass of the speed itself


class OneEuro:
    """Smooths a stream of landmarks, one frame at a time.

    The speed is a point's, not a coordinate's, so that the result does not depend on the axes' direction.
    """

    def __init__(self, fps, minimum_cutoff=MINIMUM_CUTOFF, speed_gain=SPEED_GAIN, speed_cutoff=SPEED_CUTOFF):
        for name, value in (("fps", fps), ("minimum_cutoff", minimum_cutoff), ("speed_cutoff", speed_cutoff)):
            if not value > 0:
                raise InputError(f"{name} must be above 0, got {value}")
        if speed_gain < 0:
            raise InputError(f"speed_gain must not be negative, got {speed_gain}")
        self.fps = fps
        self.minimum_cutoff = minimum_cutoff
        self.speed_gain = speed_gain
        self.speed_cutoff = speed_cutoff
        self._position = None
        self._velocity = None

    def __call__(self, points):
        """The smoothed frame, float32 of `points`' shape [..., 2]. The first frame passes unchanged."""
        points = np.asarray(points, np.float64)
        if self._position is None:
            self._position, self._velocity = points, np.zeros_like(points)
            return points.astype(np.float32)
        # As the authors' code: velocity against the last smoothed position, itself smoothed at a fixed cut-off.
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
    """A whole clip [T, 68, 2] through `OneEuro(fps, **settings)`."""
    points = np.asarray(points)
    one_euro = OneEuro(fps, **settings)
    return np.stack([one_euro(frame) for frame in points]) if len(points) else points.astype(np.float32)


def _blend(old, new, share):
    return old + share * (new - old)
