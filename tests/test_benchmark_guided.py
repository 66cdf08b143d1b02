"""The guided benchmark's figures on small random weights, and continuity by hand."""

import dataclasses

import numpy as np
import pytest

from tests.random_avatars import random_guided_avatar, tiny_guided
from tf_talkinghead.benchmark import guided
from tf_talkinghead.errors import InputError
from tf_talkinghead.weights.identity import DEMO
from tf_talkinghead.weights.store import empty, save_trained


@pytest.mark.slow
def test_figures_of_tiny(tmp_path):
    weights = save_trained(empty(tiny_guided()), tmp_path / "weights")
    found = guided.run("tiny", {"weights": str(weights), "shots": "2", "repeats": "3"})
    for name in ("64px", "64px_in_fours", "128px"):
        best, median = found[f"{name}_best_ms_per_frame"], found[f"{name}_ms_per_frame"]
        assert 0 < best <= median <= found[f"{name}_p95_ms_per_frame"]
    assert found["continuity_people"] == 1 and found["continuity_worst"] > 0


def test_a_photo_that_comes_and_goes_shows_in_the_continuity():
    """The same photo twice changes nothing; a switch to a black one in the middle does.

    Nothing but the contrast: a blend is taken to lose some, and that of equal photos does not.
    """
    avatar = random_guided_avatar()
    photos = avatar.photos
    same = dataclasses.replace(avatar, photos=photos.chosen([0, 0]))
    assert guided.continuity(same) == pytest.approx(1.0, abs=0.2)
    black = np.stack([photos.images[0], 0 * photos.images[0]])
    other = dataclasses.replace(avatar, photos=dataclasses.replace(photos, images=black))
    assert guided.continuity(other) > 1.5


def test_other_weights_are_refused():
    with pytest.raises(InputError, match="not guided"):
        guided.run("tiny", {"weights": str(DEMO)})
