"""Driving by another person, with adaptation and without: the pairs, the rows and the counting of wins."""

import numpy as np
import pytest

from tests.face_points import COLLINS
from tests.moving_portrait import source
from tf_talkinghead.config import EvaluationConfig
from tf_talkinghead.driving.scripted_motion import scripted_motion
from tf_talkinghead.evaluation.cross_driving import cross_rows, drivers, wins

CONFIG = EvaluationConfig(shots=(1, 3), holdout=8, gap=3, cross_shots=3)


def row(person, driver, protocol, csim, error):
    return {
        "person": person,
        "driver": driver,
        "protocol": protocol,
        "method": "warp",
        "T": 8,
        "csim": csim,
        "landmark_error": error,
    }


def test_wins_by_hand():
    """Three pairs: adaptation is liker twice; of the two where both landmark errors exist it is better once."""
    adapted = [
        row("ann", "bob", "cross", 0.8, 0.05),
        row("ann", "eve", "cross", 0.6, 0.07),
        row("bob", "eve", "cross", 0.7, None),
    ]
    plain = [
        row("ann", "bob", "cross_unadapted", 0.7, 0.06), row("ann", "eve", "cross_unadapted", 0.65, 0.06),
        row("bob", "eve", "cross_unadapted", 0.5, 0.06),
    ]  # fmt: skip
    assert wins(adapted, adapted + plain) == {
        "pairs": 3,
        "csim_wins": "2/3",
        "landmark_wins": "1/2",
    }
    assert wins(adapted, adapted) == {"pairs": 3, "csim_wins": None, "landmark_wins": None}


def test_who_drives():
    """The first two whose clips are long enough; not more are loaded."""
    people = [source("tiny", 10), source("ann", 36), source("bob", 36), source("eve", 36)]
    found = drivers(people, 96, CONFIG)
    assert [driver["driver"] for driver in found] == ["ann", "bob"]
    assert found[0]["landmarks"].shape == (8, 68, 2) and found[0]["reference"].shape == (68, 2)


class Seen:
    """A judge that says how wide the driving faces were."""

    def cross_row(self, rendered, driving):
        return {"csim": float(np.ptp(driving[0, :, 0]))}


def test_both_ways_are_judged_on_their_own_landmarks():
    wide = COLLINS.copy()
    wide[:, 0] = 0.5 + 1.3 * (wide[:, 0] - 0.5)
    driver = {"driver": "bob", "landmarks": scripted_motion(wide, 4), "reference": wide}
    relative, none = cross_rows(lambda points: points, Seen(), COLLINS, [driver])
    assert (relative["protocol"], relative["adapt"]) == ("cross", "relative")
    assert (none["protocol"], none["adapt"], none["driver"]) == ("cross_unadapted", "none", "bob")
    assert relative["csim"] == pytest.approx(np.ptp(COLLINS[:, 0]), abs=0.01)
    assert none["csim"] == pytest.approx(np.ptp(wide[:, 0]), abs=0.01)
