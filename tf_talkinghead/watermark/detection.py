"""Detection of the watermark in a picture or film: is there a mark, and whose.

    found = detect(frames)             # frames uint8 RGB [H, W, 3] of one size, one or many
    found.present, found.score, found.id

A mark counts as present if the score of the sync pattern reaches its threshold, at the likely
places or in a search over scale and place, or if the payload decodes. An id is returned only if the
decoded word passes both the CRC and the agreement check (payload.py).
"""

import dataclasses
import heapq
from collections.abc import Iterable, Iterator

import numpy as np

from tf_talkinghead.errors import InputError
from tf_talkinghead.watermark.keys import PUBLIC_KEY
from tf_talkinghead.watermark.pattern import Pattern, make_pattern
from tf_talkinghead.watermark.payload import decode
from tf_talkinghead.watermark.residual import SMALLEST_SIDE, Residuals
from tf_talkinghead.watermark.search import (
    Peak,
    coefficients,
    refined,
    search,
    soft_bits,
    sync_score,
)

# Score thresholds, in standard deviations: of a likely place, and of the refined place of a search.
# Set by 10,000 searches of unmarked clips and photos with wrong keys (`benchmark watermark`): no
# likely place scored more than 3.9, and no refined one more than 6.7, where marks reach 8 and more.
# False positives of both together must stay below 0.1 %.
PLACE_THRESHOLD, SEARCH_THRESHOLD = 4.0, 7.0
# Score before refining from which a place counts; one wrong key in 40 gets there.
CANDIDATE = 5.5
# Places of the search that are refined and decoded.
_DECODED = 3
# A place with a lower score is not decoded.
_WORTH = 3.5


@dataclasses.dataclass(frozen=True)
class Detection:
    """The result of a watermark detection.

    Attributes:
      present: whether there is a mark of the key.
      score: of the sync pattern at the best place, in standard deviations.
      threshold: the score from which a mark counts as present.
      id: the avatar's id where it can be read; 0 is a preview.
      agreement: of the soft bits with the decoded word, 0 to 1.
      place: (x, y, side) of the marked picture in pixels of the frame; None without a mark.
      frames: number of frames read.
    """

    present: bool
    score: float
    threshold: float
    id: int | None
    agreement: float
    place: tuple[float, float, float] | None
    frames: int


def detect(
    frames: Iterable[np.ndarray], key: bytes = PUBLIC_KEY, everywhere: bool = True
) -> Detection:
    """Looks for the mark of `key`.

    Args:
      frames: uint8 RGB [H, W, 3], all of one size; of a film, a hundred evenly spaced frames are
        enough.
      key: the key it was marked with.
      everywhere: whether to search over scale and place where the likely places show nothing.

    Raises:
      InputError: no frames, or frames of different sizes.
    """
    return detect_in(gather(frames), key, everywhere)


def gather(frames: Iterable[np.ndarray]) -> Residuals:
    """The mean residuals of frames, for any number of keys; arguments and errors as `detect`."""
    residuals = None
    for frame in frames:
        residuals = residuals or Residuals(*frame.shape[:2])
        if frame.shape[:2] != (residuals.height, residuals.width):
            raise InputError(
                f"expected frames of {residuals.width} x {residuals.height} px like the first, got "
                f"{frame.shape[1]} x {frame.shape[0]}"
            )
        residuals.add(frame)
    if residuals is None:
        raise InputError("no frames to look for a watermark in")
    return residuals


def detect_in(residuals: Residuals, key: bytes, everywhere: bool = True) -> Detection:
    """As `detect`, of residuals gathered before."""
    pattern = make_pattern(key)
    best = _Best(residuals.count)
    for place, canvas in residuals.canvases.items():
        turned = coefficients(canvas, pattern)
        best.consider(Peak(sync_score(turned, pattern), *place), turned, PLACE_THRESHOLD)
    if not best.present and everywhere and min(residuals.height, residuals.width) >= SMALLEST_SIDE:
        peaks = [peak for (peak,) in search(residuals, [pattern])]
        for peak, turned in best_places(residuals, peaks, pattern):
            best.consider(peak, turned, SEARCH_THRESHOLD)
    return best.detection()


def best_places(
    residuals: Residuals, peaks: Iterable[Peak], pattern: Pattern
) -> Iterator[tuple[Peak, np.ndarray]]:
    """The best of the places that a search found, and their coefficients after refining.

    A place of a lower score than CANDIDATE keeps its score.
    """
    for peak in heapq.nlargest(_DECODED, peaks, key=lambda peak: peak.score):
        moved, turned = refined(residuals, peak, pattern)
        yield (moved if peak.score >= CANDIDATE else peak), turned


class _Best:
    """The best of the places considered; one whose payload decodes is better than any other."""

    def __init__(self, frames):
        self.frames, self.id, self.agreement = frames, None, 0.0
        self.peak, self.threshold = Peak(0.0, 0, 0, 0), PLACE_THRESHOLD

    @property
    def present(self):
        """Whether a place shows the mark."""
        return self.id is not None or self.peak.score >= self.threshold

    def consider(self, peak, turned, threshold):
        """Takes a place, its coefficients and the threshold of its score into account."""
        decoded = decode(soft_bits(turned)) if peak.score > _WORTH else None
        readable = decoded is not None and decoded.id is not None
        better = peak.score - threshold > self.peak.score - self.threshold
        if self.id is None and (readable or better):
            self.peak, self.threshold = peak, threshold
            self.agreement = decoded.agreement if decoded else 0.0
            self.id = decoded.id if decoded else None

    def detection(self):
        """The result."""
        place = (self.peak.x, self.peak.y, self.peak.side) if self.present else None
        return Detection(
            self.present,
            self.peak.score,
            self.threshold,
            self.id,
            self.agreement,
            place,
            self.frames,
        )
