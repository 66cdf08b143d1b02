"""Driver motion and expressions on an avatar's face, with strengths, pupils, saved and replayed."""

import numpy as np
import pytest

from tests.face_points import COLLINS
from tf_talkinghead.driving import retargeting
from tf_talkinghead.driving.driver import DriverMotion
from tf_talkinghead.driving.expression import read_motion
from tf_talkinghead.driving.face_model import NAMES
from tf_talkinghead.driving.gaze import with_gaze
from tf_talkinghead.driving.motion_file import Motion, read_motion_file, write_motion_file
from tf_talkinghead.driving.retargeting import AvatarFace, expressed_on_avatar, on_avatar
from tf_talkinghead.driving.scripted_motion import scripted_motion
from tf_talkinghead.driving.strengths import Steering
from tf_talkinghead.faces.geometry import turned

WIDE = np.float32(0.5 + (COLLINS - 0.5) * (1.2, 1.0))  # another face
PUPILS = np.float64([[0.385, 0.355], [0.626, 0.361]])
YAW, JAW = NAMES.index("yaw"), NAMES.index("jaw")


@pytest.fixture
def motion():
    """WIDE turns, nods, blinks and talks, and looks to the right for the first second."""
    landmarks = scripted_motion(WIDE)
    gaze = np.zeros((len(landmarks), 2))
    gaze[:25, 0] = 0.25
    pupils = with_gaze(landmarks, WIDE, gaze)[:, 68:]
    seen = np.ones(len(landmarks), bool)
    return DriverMotion("clip.mp4", landmarks, seen, 25.0, WIDE, pupils)


def test_pupils_go_to_avatars_that_take_them(motion):
    with_eyes = on_avatar(motion, AvatarFace(COLLINS, PUPILS, gaze=True))
    without = on_avatar(motion, AvatarFace(COLLINS))
    assert with_eyes.shape == (200, 70, 2) and without.shape == (200, 68, 2)
    np.testing.assert_array_equal(with_eyes[:, :68], without)
    gaze = read_motion(with_eyes, np.concatenate([COLLINS, PUPILS]))[:, -2]
    assert gaze[5:20].mean() == pytest.approx(0.25, abs=0.03) and abs(gaze[40:].mean()) < 0.01


def test_strengths_change_their_part(motion):
    face = AvatarFace(COLLINS, PUPILS, gaze=True)
    plain = read_motion(on_avatar(motion, face), face.points)
    still = read_motion(on_avatar(motion, face, Steering(pose=0.0, eyes=0.0)), face.points)
    assert np.abs(plain[:, YAW]).max() > 8 and np.abs(still[:, YAW]).max() < 0.5
    np.testing.assert_allclose(still[:, JAW], plain[:, JAW], atol=0.01)
    assert np.abs(still[:, -2:]).max() < 0.01
    louder = read_motion(on_avatar(motion, face, Steering(lips=1.5)), face.points)
    assert louder[:, JAW].max() == pytest.approx(1.5 * plain[:, JAW].max(), rel=0.02)


def test_strengths_without_adaptation_are_about_the_drivers_own_rest(motion):
    still = on_avatar(motion, None, Steering(pose=0, eyes=0, lips=0, brows=0), mode="none")
    assert np.abs(still - WIDE).max() < 0.02
    np.testing.assert_array_equal(on_avatar(motion, None, mode="none"), motion.landmarks)


def test_a_saved_motion_gives_the_same_film(motion, tmp_path):
    write_motion_file(tmp_path / "m.json", retargeting.saved_motion(motion))
    again = retargeting.driver_of(read_motion_file(tmp_path / "m.json"), "m.json")
    assert again.fps == 25 and again.seen.all()
    face = AvatarFace(COLLINS, PUPILS, gaze=True)
    # Landmarks are rounded to a ten-thousandth of the crop.
    np.testing.assert_allclose(on_avatar(again, face), on_avatar(motion, face), atol=5e-4)
    assert (tmp_path / "m.json").stat().st_size < 1500 * 200


def test_a_saved_motion_as_csv_holds_the_expressions(motion, tmp_path):
    write_motion_file(tmp_path / "m.csv", retargeting.saved_motion(motion))
    numbers = read_motion_file(tmp_path / "m.csv").numbers
    points = np.concatenate([motion.landmarks, motion.pupils], 1)
    np.testing.assert_allclose(numbers, read_motion(points, WIDE), atol=1e-4)
    assert (tmp_path / "m.csv").stat().st_size < 200 * 200


def test_expressions_move_the_avatar_at_the_asked_rate():
    numbers = np.tile(np.array([0.0] * 5 + [1.0] + [0.0] * 8 + [np.nan] * 2), (2, 1))
    numbers[1, YAW] = 10.0
    motion = Motion(np.array([0.0, 1.0]), numbers)
    points = expressed_on_avatar(motion, AvatarFace(COLLINS, PUPILS, gaze=True), fps=10)
    assert points.shape == (11, 68, 2)  # no gaze is named
    yaw = read_motion(points, COLLINS)[:, YAW]
    np.testing.assert_allclose(yaw, np.linspace(0, 10, 11), atol=0.05)
    numbers[:, -2:] = 0.1
    assert expressed_on_avatar(motion, AvatarFace(COLLINS, gaze=True), 10).shape == (11, 70, 2)
    assert expressed_on_avatar(motion, AvatarFace(COLLINS), 10).shape == (11, 68, 2)


def test_the_card_says_what_the_face_is():
    card = {"reference_landmarks": COLLINS.tolist(), "gaze": True, "reference_pupils": None}
    face = AvatarFace.of(card)
    assert face.gaze and face.points.shape == (68, 2)
    assert AvatarFace.of({**card, "reference_pupils": PUPILS.tolist()}).points.shape == (70, 2)
    assert not AvatarFace.of({"reference_landmarks": turned(COLLINS, yaw=3).tolist()}).gaze
