"""Driven by another person: the second protocol of an evaluation, with landmark adaptation and without.

There are no true frames, so a row has the face (CSIM against the person's T images) and landmarks only. Every pair of
avatar and driver is judged twice, with the driver's landmarks adapted to the avatar's face shape ("cross") and as they
are ("cross_unadapted"); the report counts for how many pairs adaptation wins.
"""

import numpy as np

from tf_talkinghead.driving.adaptation import adapt
from tf_talkinghead.errors import InputError, NoFaceError
from tf_talkinghead.evaluation.protocol import split
from tf_talkinghead.faces.geometry import neutral_frame

DRIVERS = 2  # other people who drive each avatar: eight people make sixteen pairs
PROTOCOLS = {
    "relative": "cross",
    "none": "cross_unadapted",
}  # how landmarks are adapted -> the rows' protocol


def drivers(sources, size, config):
    """The first DRIVERS of `sources` whose clips are long enough: [{"driver", "landmarks" of the judged frames, "reference"}]."""
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
        found.append(
            {
                "driver": source.person,
                "landmarks": clip.landmarks[chosen.judge],
                "reference": learned[neutral_frame(learned)],
            }
        )
    return found


def cross_rows(renderer, judge, reference, driven_by):
    """Rows of one avatar, whose neutral landmarks are `reference` [68,2], driven by each of `drivers`, both ways."""
    rows = []
    for driver in driven_by:
        for mode, protocol in PROTOCOLS.items():
            driving = np.float32(adapt(driver["landmarks"], driver["reference"], reference, mode))
            measured = judge.cross_row(renderer(driving), driving)
            rows.append(
                {"protocol": protocol, "adapt": mode, "driver": driver["driver"], **measured}
            )
    return rows


def wins(members, rows):
    """What adaptation does for `members`, "cross" rows of one method and T: {"pairs", "csim_wins", "landmark_wins"}.

    A pair counts where both ways have the figure; "9/10" is nine of ten pairs.
    """
    unadapted = {_pair(row): row for row in rows if row["protocol"] == PROTOCOLS["none"]}
    counts = {"pairs": len(members)}
    for name, measure, sign in (("csim_wins", "csim", 1), ("landmark_wins", "landmark_error", -1)):
        gains = [
            sign * (row[measure] - other[measure])
            for row in members
            if _both(row, other := unadapted.get(_pair(row)), measure)
        ]
        counts[name] = f"{sum(gain > 0 for gain in gains)}/{len(gains)}" if gains else None
    return counts


def _pair(row):
    return row["person"], row["driver"], row["method"], row["T"]


def _both(row, other, measure):
    return other is not None and row.get(measure) is not None and other.get(measure) is not None
