"""Cross-person driving: the second protocol of an evaluation, with landmark adaptation and without.

There are no true frames, so only identity (CSIM against the person's T images) and landmarks are
measured. Every pair of avatar and driver is scored twice: with the driver's landmarks adapted to
the avatar's face shape, and with the landmarks unchanged. The summary counts for how many pairs
adaptation is better.
"""

from dataclasses import dataclass

import numpy as np

from tf_talkinghead.driving.adaptation import adapt
from tf_talkinghead.errors import InputError, NoFaceError
from tf_talkinghead.evaluation.protocol import split
from tf_talkinghead.evaluation.results import CROSS, CROSS_UNADAPTED, Row
from tf_talkinghead.faces.geometry import neutral_frame

DRIVERS = 2  # other people who drive each avatar: eight people make sixteen pairs
PROTOCOLS = {"relative": CROSS, "none": CROSS_UNADAPTED}  # mode of `adapt` -> the rows' protocol


@dataclass(frozen=True)
class Driver:
    """Another person's motion."""

    person: str
    landmarks: np.ndarray  # float32 [n,68,2], of the held-out frames, fractions of the crop
    reference: np.ndarray  # float32 [68,2], of their most neutral frame


def drivers(sources, size, config):
    """The first DRIVERS of `sources` whose clips are long enough, a list of Driver."""
    found = []
    for source in sources:
        if len(found) == DRIVERS:
            break
        try:
            clip = source.load(size, config.max_frames)
            chosen = split(len(clip.images), config, source.clip)
        except (InputError, NoFaceError):
            continue
        learned = clip.landmarks[chosen.learn]
        reference = learned[neutral_frame(learned)]
        driving = clip.driving(config.smooth)[chosen.holdout]
        found.append(Driver(source.person, driving, reference))
    return found


def cross_rows(renderer, scorer, reference, driven_by, **of_row):
    """Rows of one avatar driven by each of some drivers, with adaptation and without.

    Args:
      renderer: landmarks float32 [n,68,2] -> frames uint8 [n,H,W,3].
      scorer: a Scorer.
      reference: float32 [68,2], the avatar's neutral landmarks.
      driven_by: list of Driver.
      of_row: the rows' person, T and method.

    Returns:
      list of Row, two for each driver.
    """
    rows = []
    for driver in driven_by:
        for mode, protocol in PROTOCOLS.items():
            driving = np.float32(adapt(driver.landmarks, driver.reference, reference, mode))
            measured = scorer.driven_by_another(renderer(driving), driving)
            of_pair = {"protocol": protocol, "adapt": mode, "driver": driver.person}
            rows.append(Row(**of_row, **of_pair, **measured))
    return rows


def wins(members, rows):
    """In how many pairs adaptation has the higher CSIM, and the lower landmark error.

    Two texts: "9/10" means nine of ten pairs; None where there is no pair.

    Args:
      members: the adapted rows of one method and T.
      rows: rows with the unadapted ones among them. A pair counts where both have the figure.
    """
    unadapted = {_pair(row): row for row in rows if row.protocol == CROSS_UNADAPTED}
    pairs = [(row, unadapted[_pair(row)]) for row in members if _pair(row) in unadapted]
    return (
        _share(_above(plain.csim, adapted.csim) for adapted, plain in pairs),
        _share(_above(adapted.landmark_error, plain.landmark_error) for adapted, plain in pairs),
    )


def _above(low, high):
    """Whether `high` is above `low`; None where either is missing."""
    return None if low is None or high is None else high > low


def _share(answers):
    known = [answer for answer in answers if answer is not None]
    return f"{sum(known)}/{len(known)}" if known else None


def _pair(row):
    return row.person, row.driver, row.method, row.T
