"""Cross-person driving, with adaptation and without: the pairs, the rows, the counts of wins."""

import numpy as np
import pytest

from tests.face_points import COLLINS
from tests.moving_portrait import source
from tf_talkinghead.config import EvaluationConfig
from tf_talkinghead.driving.scripted_motion import scripted_motion
from tf_talkinghead.evaluation.cross_driving import Driver, cross_rows, drivers, wins
from tf_talkinghead.evaluation.results import CROSS, CROSS_UNADAPTED, Row

CONFIG = EvaluationConfig(shots=(1, 3), holdout=8, gap=3, cross_shots=3)


def row(person, driver, protocol, csim, error):
    return Row(
        person=person,
        driver=driver,
        protocol=protocol,
        method="warp",
        T=8,
        csim=csim,
        landmark_error=error,
    )


def test_wins_by_hand():
    """Adaptation has the higher CSIM in two of three pairs, the lower error in one of two."""
    adapted = [
        row("ann", "bob", CROSS, 0.8, 0.05),
        row("ann", "eve", CROSS, 0.6, 0.07),
        row("bob", "eve", CROSS, 0.7, None),
    ]
    plain = [
        row("ann", "bob", CROSS_UNADAPTED, 0.7, 0.06),
        row("ann", "eve", CROSS_UNADAPTED, 0.65, 0.06),
        row("bob", "eve", CROSS_UNADAPTED, 0.5, 0.06),
    ]
    assert wins(adapted, adapted + plain) == ("2/3", "1/2")
    assert wins(adapted, adapted) == (None, None)


def test_who_drives():
    """The first two whose clips are long enough; not more are loaded."""
    people = [source("tiny", 10), source("ann", 36), source("bob", 36), source("eve", 36)]
    found = drivers(people, 96, CONFIG)
    assert [driver.person for driver in found] == ["ann", "bob"]
    assert found[0].landmarks.shape == (8, 68, 2) and found[0].reference.shape == (68, 2)


class WidthScorer:
    """A scorer whose CSIM is the width of the driving faces."""

    def driven_by_another(self, rendered, driving):
        return {"csim": float(np.ptp(driving[0, :, 0]))}


def test_both_ways_are_scored_on_their_own_landmarks():
    wide = COLLINS.copy()
    wide[:, 0] = 0.5 + 1.3 * (wide[:, 0] - 0.5)
    driver = Driver("bob", scripted_motion(wide, 4), wide)
    of_row = {"person": "ann", "T": 8, "method": "warp"}
    rows = cross_rows(lambda points: points, WidthScorer(), COLLINS, [driver], **of_row)
    relative, none = rows
    assert (relative.protocol, relative.adapt) == ("cross", "relative")
    assert (none.protocol, none.adapt, none.driver) == ("cross_unadapted", "none", "bob")
    assert relative.csim == pytest.approx(np.ptp(COLLINS[:, 0]), abs=0.01)
    assert none.csim == pytest.approx(np.ptp(wide[:, 0]), abs=0.01)
    assert (none.person, none.method, none.T) == ("ann", "warp", 8)
