"""Which face of a driver's video is followed where it shows several."""

import numpy as np
import pytest

from tests.face_points import COLLINS
from tf_talkinghead.driving.face_choice import choose_face
from tf_talkinghead.errors import InputError, NoFaceError
from tf_talkinghead.faces.tracking import Track


def track(x, side, frames):
    """A face at `x` across, `side` pixels large, seen in `frames`."""
    points = np.float32(COLLINS * side + (x, 50))
    return Track(positions=list(frames), points=[points] * len(frames))


def test_a_face_is_named_by_size_or_by_place():
    small, middle = track(10, 60, range(50)), track(180, 80, range(35))
    large = track(300, 120, range(30))
    tracks = [large, small, middle]
    assert choose_face(tracks, 50) == [small]  # lasts longest
    assert choose_face(tracks, 50, "largest") == [large]
    assert choose_face(tracks, 50, "left") == [small] == choose_face(tracks, 50, "1")
    assert choose_face(tracks, 50, "2") == [middle] and choose_face(tracks, 50, "3") == [large]
    with pytest.raises(InputError, match="--face=4: the driver shows 3 faces"):
        choose_face(tracks, 50, "4")


def test_a_face_that_comes_back_is_one_face():
    before, after = track(10, 60, range(20)), track(12, 62, range(30, 50))
    other = track(300, 60, range(50))
    assert choose_face([before, after, other], 50, "left") == [before, after]
    assert choose_face([before, after, other], 50, "2") == [other]


def test_faces_that_pass_by_do_not_count():
    lasting, passing = track(200, 60, range(50)), track(10, 90, range(5))
    assert choose_face([lasting, passing], 50, "left") == [lasting]


def test_a_badge_on_the_jacket_is_no_face_to_count():
    lasting, badge = track(200, 100, range(50)), track(10, 30, range(50))
    assert choose_face([lasting, badge], 50, "left") == [lasting]


def test_rivals_are_refused_with_the_way_out():
    rivals = [track(10, 60, range(50)), track(200, 60, range(50))]
    with pytest.raises(NoFaceError, match="several faces.*--face=largest"):
        choose_face(rivals, 50)
    assert choose_face(rivals, 50, "2") == [rivals[1]]


@pytest.mark.parametrize("face", ["0", "-1", "big", "1.5", ""])
def test_other_values_are_refused(face):
    with pytest.raises(InputError, match="--face=.*expected largest, left, or a number"):
        choose_face([track(0, 60, range(3))], 3, face)


def test_no_face_is_said_so():
    with pytest.raises(NoFaceError, match="no face found"):
        choose_face([], 5, "left")
