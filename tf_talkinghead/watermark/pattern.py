"""The keyed pattern: which spatial frequencies carry the mark, with which phase and which bit.

The pattern covers the whole picture, whatever its size, at 12 to 54 cycles a picture: high enough
to hide in texture and to stand out from the face's own shapes, low enough to survive H.264 and half
the size. Each of 4,224 frequencies has a keyed phase. Its in-phase component carries the sync
pattern, by which the mark is found; its quadrature component carries one of 192 coded bits, each
spread over 22 frequencies.

All numbers come from SHAKE-256 of the key, so that the pattern depends on no library's version.
"""

import dataclasses
import functools
import hashlib

import numpy as np

from tf_talkinghead.watermark.keys import PUBLIC_KEY
from tf_talkinghead.watermark.payload import APPLICATION, CODED_BITS, encode

CANVAS = 128  # samples a side on which frames are measured
LOWEST, HIGHEST = 12, 54  # cycles a picture
PER_BIT = 22  # frequencies
# Share of the mark's energy in the sync pattern. On six clips after H.264 at crf 28, .35 gave
# scores of 7, too low for a search over scale and place; .6 left the bits too little energy.
SYNC_SHARE = 0.5


@dataclasses.dataclass(frozen=True)
class Pattern:
    """The pattern of one key.

    Attributes:
      rows, columns: int [F], indices of the frequencies in rfft2 of the canvas; the PER_BIT
        frequencies of one coded bit are consecutive.
      phases: complex64 [F] of modulus 1.
    """

    rows: np.ndarray
    columns: np.ndarray
    phases: np.ndarray

    @property
    def radius(self) -> np.ndarray:
        """Cycles a picture of each frequency, float [F]."""
        rows = np.where(self.rows > CANVAS // 2, self.rows - CANVAS, self.rows)
        return np.hypot(rows, self.columns)

    def picture(self, size: int, identity: int) -> np.ndarray:
        """The pattern that marks frames of `size` px with an id, float32, of variance 1."""
        bits = np.repeat(encode(identity), PER_BIT)
        return self._synthesize(np.sqrt(SYNC_SHARE) + 1j * np.sqrt(1 - SYNC_SHARE) * bits, size)

    def sync_picture(self, size: int = CANVAS) -> np.ndarray:
        """The sync pattern alone, float32 [size, size] of variance 1."""
        return self._synthesize(np.ones(len(self.rows)), size)

    def _synthesize(self, amplitudes, size):
        rows = np.where(self.rows > CANVAS // 2, self.rows - CANVAS, self.rows) % size
        spectrum = np.zeros([size, size // 2 + 1], np.complex64)
        spectrum[rows, self.columns] = self.phases * amplitudes
        # The canvas' samples lie at the middle of its pixels; those of a larger picture elsewhere.
        offset = (0.5 / size - 0.5 / CANVAS) * 2j * np.pi
        cycles = np.fft.fftfreq(size, 1 / size)[:, None] + np.arange(size // 2 + 1)[None]
        picture = np.fft.irfft2(spectrum * np.exp(offset * cycles), [size, size])
        return np.float32(picture / picture.std())


@functools.lru_cache(maxsize=4)
def make_pattern(key: bytes = PUBLIC_KEY) -> Pattern:
    """The pattern of `key`."""
    rows, columns = _band()
    count = CODED_BITS * PER_BIT
    stream = hashlib.shake_256(b"watermark\0" + APPLICATION.to_bytes(2, "big") + key)
    drawn = stream.digest(8 * len(rows) + 4 * count)
    order = np.argsort(np.frombuffer(drawn[: 8 * len(rows)], "<u8"), kind="stable")[:count]
    angles = np.frombuffer(drawn[8 * len(rows) :], "<u4") * (2 * np.pi / 2**32)
    return Pattern(rows[order], columns[order], np.exp(1j * angles).astype(np.complex64))


def _band():
    """Rows and columns in rfft2 of the frequencies between LOWEST and HIGHEST."""
    y = np.fft.fftfreq(CANVAS, 1 / CANVAS)[:, None]
    x = np.arange(CANVAS // 2 + 1)[None]
    radius = np.hypot(y, x)
    # Column 0 holds every frequency twice.
    return np.nonzero((radius >= LOWEST) & (radius <= HIGHEST) & (x > 0))
