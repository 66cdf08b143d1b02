"""Means over people, distances between sets of frames, and which method a report leads with."""

import dataclasses

import numpy as np

from tf_talkinghead.evaluation.cross_driving import wins
from tf_talkinghead.evaluation.fid import SetDistance
from tf_talkinghead.evaluation.methods import ALL, MODEL_METHODS
from tf_talkinghead.evaluation.results import (
    CROSS,
    SELF,
    TRUTH,
    Measures,
    SetDistances,
    SummaryRow,
    person_folder,
    split_label,
)

LEADING_T = 8  # T that a report leads with, if it was evaluated
_MEASURES = tuple(item.name for item in dataclasses.fields(Measures))


def summarise(people):
    """Means over people.

    Args:
      people: list of PersonResult.

    Returns:
      list of SummaryRow, one for each protocol, T and method, in the order of the tables.
    """
    rows = [row for person in people for row in person.results]
    groups = {}
    for row in rows:
        groups.setdefault((row.protocol, row.T, row.method), []).append(row)
    return [_mean(groups[group], rows) for group in sorted(groups, key=_order)]


def set_distances(people, output):
    """Distances of each method's frames from the true ones, over all people.

    Features are read from the people's `features.npz` in `output`: face vectors, and InceptionV3's
    where they were computed.

    Returns:
      list of SetDistances, by T and method.
    """
    pairs = {}
    for person in people:
        path = person_folder(output, person.person) / "features.npz"
        if not person.results or not path.is_file():
            continue
        with np.load(path) as stored:
            for name in stored.files:
                label = name.removeprefix("inception_")
                if label == "real":
                    continue
                real = stored[name.removesuffix(label) + "real"]
                pair = pairs.setdefault(name, SetDistance(real.shape[1]))
                pair.add(real, stored[name])
    found = []
    for label in (name for name in pairs if not name.startswith("inception_")):
        method, T = split_label(label)
        face, inception = pairs[label], pairs.get(f"inception_{label}")
        figures = {"face_frechet": face.frechet(), "face_kernel": face.kernel()}
        if inception:
            figures |= {"fid": inception.frechet(), "kid": inception.kernel()}
        figures = {
            key: None if value is None else round(value, 6) for key, value in figures.items()
        }
        found.append(SetDistances(method=method, T=T, n=face.count, **figures))
    return sorted(found, key=lambda row: (row.T, ALL.index(row.method)))


def leading(rows):
    """(method, T) that a report leads with.

    The best method of the model by mean SSIM, or the best baseline where no model was evaluated; at
    T = 8, or at the largest T where 8 was not evaluated. ("warp", 0) without rows.
    """
    own = [row for row in rows if row.protocol == SELF and row.T]
    if not own:
        return "warp", 0
    shots = {row.T for row in own}
    T = LEADING_T if LEADING_T in shots else max(shots)
    scores = {}
    for row in own:
        if row.T == T:
            scores.setdefault(row.method, []).append(row.ssim)
    of_model = {name: values for name, values in scores.items() if name in MODEL_METHODS}
    scores = of_model or scores
    return max(scores, key=lambda name: np.mean(scores[name])), T


def _mean(members, rows):
    """The SummaryRow of rows of one method, T and protocol."""
    first = members[0]
    means = {}
    for name in _MEASURES:
        values = [getattr(row, name) for row in members if getattr(row, name) is not None]
        means[name] = round(float(np.mean(values)), 5) if values else None
    if first.protocol == SELF:
        if first.method not in (TRUTH, "nearest"):
            means["beats_nearest"] = _beats_nearest(members, rows)
    else:
        means |= {"adapt": first.adapt, "pairs": len(members)}
    if first.protocol == CROSS:
        means["csim_wins"], means["landmark_wins"] = wins(members, rows)
    return SummaryRow(
        T=first.T,
        method=first.method,
        protocol=first.protocol,
        people=len({row.person for row in members}),
        **means,
    )


def _beats_nearest(members, rows):
    """For how many people the method's SSIM is above the nearest frame's: "6/8"; None if none."""
    T = members[0].T
    nearest = {
        row.person: row.ssim
        for row in rows
        if (row.protocol, row.T, row.method) == (SELF, T, "nearest")
    }
    compared = [row for row in members if row.person in nearest]
    above = sum(row.ssim > nearest[row.person] for row in compared)
    return f"{above}/{len(compared)}" if compared else None


def _order(group):
    protocol, T, method = group
    return protocol != SELF, protocol, T or 0, ALL.index(method) if method in ALL else -1
