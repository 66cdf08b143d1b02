"""scripted_motion and adapt: natural, exact at rest, and free of the driver's face shape."""

import numpy as np
import pytest

from tests.face_points import COLLINS
from tf_talkinghead.driving.adaptation import adapt
from tf_talkinghead.driving.scripted_motion import SCRIPT, scripted_motion
from tf_talkinghead.errors import InputError
from tf_talkinghead.faces import geometry
from tf_talkinghead.faces.geometry import expressed, neutral_frame, similarity, turned


def eye_opening(points):
    """Mean distance of upper and lower lid, [T]."""
    return np.mean(
        [np.linalg.norm(points[:, u] - points[:, l], axis=-1) for u, l in geometry.LIDS], axis=0
    )


def mouth_opening(points):
    return points[:, 66, 1] - points[:, 62, 1]


def nose_offset(points):
    """How far the nose tip lies from the middle of the jaw's ends, positive to the picture's right,
    [T].
    """
    return points[:, 30, 0] - (points[:, 0, 0] + points[:, 16, 0]) / 2


def other_face():
    """Another face: wider, with smaller eyes, tilted, larger and elsewhere in its picture."""
    face = COLLINS.astype(np.float64).copy()
    face[:, 0] = 0.5 + 1.25 * (face[:, 0] - 0.5)
    for eye in (geometry.RIGHT_EYE, geometry.LEFT_EYE):
        centre = face[eye].mean(0)
        face[eye] = centre + 0.7 * (face[eye] - centre)
    turn = np.deg2rad(12)
    matrix = 1.3 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return face @ matrix.T + [0.1, -0.2]


def test_the_script_starts_and_ends_at_rest_and_takes_its_natural_time():
    motion = scripted_motion(COLLINS, fps=25)
    assert motion.shape == (200, 68, 2) and motion.dtype == np.float32
    np.testing.assert_allclose(motion[0], COLLINS, atol=1e-6)
    np.testing.assert_allclose(motion[-1], COLLINS, atol=1e-6)
    assert scripted_motion(COLLINS, fps=50).shape[0] == 400


@pytest.mark.parametrize("frames", [1, 2, 33, 200, 450])
def test_any_number_of_frames(frames):
    motion = scripted_motion(COLLINS, frames=frames)
    assert motion.shape == (frames, 68, 2)
    np.testing.assert_allclose(motion[0], COLLINS, atol=1e-6)
    np.testing.assert_allclose(motion[-1], COLLINS, atol=1e-6)


def test_every_part_does_what_its_name_says():
    turn = scripted_motion(COLLINS, parts=("turn",))
    assert nose_offset(turn).max() > nose_offset(turn)[0] + 0.02
    assert nose_offset(turn).min() < nose_offset(turn)[0] - 0.02
    nod = scripted_motion(COLLINS, parts=("nod",))
    assert nod[:, 30, 1].max() > COLLINS[30, 1] + 0.02
    blink = scripted_motion(COLLINS, parts=("blink",))
    assert eye_opening(blink).min() < 0.25 * eye_opening(blink)[0]
    np.testing.assert_allclose(
        blink[:, geometry.MOUTH], np.broadcast_to(COLLINS[geometry.MOUTH], (15, 20, 2)), atol=1e-6
    )
    talk = scripted_motion(COLLINS, parts=("talk",))
    assert mouth_opening(talk).max() > mouth_opening(talk)[0] + 0.02
    assert eye_opening(talk).min() > 0.95 * eye_opening(talk)[0]  # no blink was asked for


def test_natural_timing():
    """A blink closes within 0.2 s and is over in 0.4; speech has 3 to 6 openings a second.

    No point jumps.
    """
    motion = scripted_motion(COLLINS, fps=100)
    closed = eye_opening(motion) < 0.6 * eye_opening(motion)[0]
    lengths = np.diff(np.flatnonzero(np.diff(np.concatenate([[0], closed, [0]]))))[::2] / 100
    assert len(lengths) == 3 and (lengths < 0.4).all()
    opening = mouth_opening(scripted_motion(COLLINS, fps=100, parts=("talk",)))
    middle = opening[1:-1]
    peaks = np.sum((middle > opening[:-2]) & (middle >= opening[2:]) & (middle > opening[0] + 0.01))
    assert 3 <= peaks / SCRIPT["talk"] <= 6
    assert np.linalg.norm(np.diff(motion, axis=0), axis=-1).max() * 100 < 1.2  # crop sides a second


def test_turned_by_hand():
    """Two points at the pivot's depth stay in line; nose tip by the rotation formula.

    Angles undo each other.
    """
    np.testing.assert_allclose(turned(COLLINS), COLLINS, atol=1e-6)
    unit = np.linalg.norm(COLLINS[16] - COLLINS[0]) / 2
    face = COLLINS - (COLLINS[0] + COLLINS[16]) / 2
    angle = -np.arctan2(*(COLLINS[42:48].mean(0) - COLLINS[36:42].mean(0))[::-1])
    upright = face @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]).T
    expected = upright[30, 0] * np.cos(0.2) + (geometry.DEPTH[30] + 0.9) * unit * np.sin(0.2)
    moved = turned(COLLINS, yaw=np.rad2deg(0.2)) - (COLLINS[0] + COLLINS[16]) / 2
    moved = moved @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]).T
    assert moved[30, 0] == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(moved[:, 1], upright[:, 1], atol=1e-6)
    np.testing.assert_allclose(turned(turned(COLLINS, roll=20), roll=-20), COLLINS, atol=1e-6)


def test_the_depths_are_those_of_a_symmetric_face():
    mirror = (
        {k: 16 - k for k in range(17)}
        | {17 + k: 26 - k for k in range(10)}
        | {31 + k: 35 - k for k in range(5)}
    )
    mirror |= {
        36: 45,
        37: 44,
        38: 43,
        39: 42,
        40: 47,
        41: 46,
        48: 54,
        49: 53,
        50: 52,
        55: 59,
        56: 58,
        60: 64,
        61: 63,
        65: 67,
    }
    for left, right in mirror.items():
        assert geometry.DEPTH[left] == geometry.DEPTH[right], (left, right)
    assert geometry.DEPTH.argmax() == 30 and geometry.DEPTH[0] == geometry.DEPTH.min()


def test_similarity_recovers_what_was_applied():
    matrix = 0.7 * np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
    found, offset = similarity(COLLINS.astype(np.float64), COLLINS @ matrix.T + [0.3, -0.1])
    np.testing.assert_allclose(found, matrix, atol=1e-6)
    np.testing.assert_allclose(offset, [0.3, -0.1], atol=1e-6)


def test_the_drivers_rest_is_the_avatars_rest():
    rest = adapt(other_face()[None], other_face(), COLLINS)[0]
    lips = [*range(49, 54), *range(55, 60), *range(61, 64), *range(65, 68)]
    np.testing.assert_allclose(np.delete(rest, lips, 0), np.delete(COLLINS, lips, 0), atol=1e-5)
    # His mouth is wider by a quarter and open as far: in widths of the mouth hers is 0.8 as open.
    opening = mouth_opening(np.stack([rest, COLLINS]))
    assert opening[0] == pytest.approx(0.8 * opening[1], rel=0.03)


def test_closed_lips_are_closed_on_an_avatar_whose_reference_smiles():
    """And open ones part as far, in widths of the mouth, as the driver's."""
    closed = expressed(COLLINS.astype(np.float64), 0, 0, 0)
    for upper, lower in geometry.LIPS:
        closed[lower] = closed[upper]
    smiling = expressed(turned(COLLINS), 0, 0.5, 0.5)
    adapted = adapt(np.stack([closed, expressed(closed, 0, 0.8, 0)]), closed, smiling)
    assert abs(mouth_opening(adapted)[0]) < 0.1 * mouth_opening(smiling[None])[0]
    width = lambda face: np.linalg.norm(face[54] - face[48])
    driver = mouth_opening(expressed(closed, 0, 0.8, 0)[None])[0] / width(closed)
    assert np.ptp(mouth_opening(adapted)) / width(smiling) == pytest.approx(driver, rel=0.1)


@pytest.mark.parametrize("openness", [0.25, 0.8, 1.3, 2.5])
def test_closed_lids_are_closed_whatever_the_avatars_eyes_open(openness):
    avatar = expressed(turned(COLLINS), 1 - openness, 0, 0)
    adapted = adapt(expressed(turned(COLLINS), 1.0, 0, 0)[None], COLLINS, avatar)
    own = (
        eye_opening(expressed(turned(COLLINS), 1.0, 0, 0)[None])[0] / eye_opening(COLLINS[None])[0]
    )
    assert eye_opening(adapted)[0] / eye_opening(avatar[None])[0] == pytest.approx(own, abs=0.05)


def test_a_person_driving_their_own_reference_changes_nothing():
    motion = scripted_motion(COLLINS, fps=10)
    np.testing.assert_allclose(adapt(motion, COLLINS, COLLINS), motion, atol=1e-5)


def test_where_the_driver_sits_in_his_picture_has_no_influence():
    motion = scripted_motion(other_face(), fps=10).astype(np.float64)
    matrix = 0.5 * np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    moved = motion @ matrix.T + [0.2, 0.3]
    np.testing.assert_allclose(
        adapt(moved, moved[0], COLLINS), adapt(motion, motion[0], COLLINS), atol=1e-5
    )


def test_the_motion_arrives_and_the_shape_does_not():
    """Another face's performance on this face is close to this face's own performance of it."""
    own = scripted_motion(COLLINS, fps=25)
    driver = scripted_motion(other_face(), fps=25)
    adapted = adapt(driver, driver[0], COLLINS)
    assert np.abs(adapted - own).max() < 0.03
    assert np.abs(adapted - own).mean() < 0.005 < 0.05 < np.abs(driver - own).mean()
    # closed is closed
    np.testing.assert_allclose(eye_opening(adapted).min(), eye_opening(own).min(), atol=0.003)
    assert np.corrcoef(mouth_opening(adapted), mouth_opening(own))[0, 1] > 0.97


def test_brows_rise_by_the_same_share_of_the_face():
    """A long-faced driver lifts the brows by a tenth of his face's height.

    So does the avatar, by a tenth of hers.
    """
    long_face = turned(COLLINS, roll=-np.rad2deg(np.arctan2(*geometry.face_axes(COLLINS)[::-1, 0])))
    round_face = long_face.copy()
    long_face = long_face * [1.0, 1.4]
    lifted = long_face.copy()
    lifted[17:27, 1] -= 0.1 * np.ptp(long_face[:, 1])
    adapted = adapt(lifted[None], long_face, round_face)[0]
    np.testing.assert_allclose(
        round_face[17:27, 1] - adapted[17:27, 1], 0.1 * np.ptp(round_face[:, 1]), rtol=0.02
    )


def test_none_hands_the_points_through():
    driver = scripted_motion(other_face(), frames=7)
    np.testing.assert_array_equal(adapt(driver, driver[0], COLLINS, mode="none"), driver)


def test_neutral_frame_is_at_rest():
    """Of a clip that moves all the time but for one frame, that frame is found."""
    moving = scripted_motion(COLLINS, fps=25)[15:30]
    talking = scripted_motion(COLLINS, fps=25, parts=("blink", "talk"))[40:60]
    talking = talking[mouth_opening(talking) > mouth_opening(COLLINS[None]) + 0.01]
    clip = np.concatenate([moving, COLLINS[None], talking])
    assert neutral_frame(clip) == 15


def test_neutral_frame_is_upright():
    """A driver who tilts the head most of the time is at rest when upright: else the avatar would
    lean for ever.
    """
    clip = np.stack([turned(COLLINS, roll=roll) for roll in (12, 14, 2, -13, 15, 13)])
    assert neutral_frame(clip) == 2


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: scripted_motion(COLLINS[:60]),
            r"reference must be landmarks \[68, 2\], got shape \[60, 2\]",
        ),
        (lambda: scripted_motion(COLLINS, frames=0), "frames and fps must be above 0"),
        (lambda: scripted_motion(COLLINS, fps=0), "frames and fps must be above 0"),
        (
            lambda: scripted_motion(COLLINS, parts=("dance",)),
            "parts must be some of turn, nod, blink, talk; got dance",
        ),
        (lambda: scripted_motion(COLLINS * np.nan), "reference must be finite"),
        (lambda: adapt(COLLINS, COLLINS, COLLINS), r"driver must be landmarks \[frames, 68, 2\]"),
        (
            lambda: adapt(COLLINS[None], COLLINS, COLLINS, mode="absolute"),
            "adapt must be none or relative, got absolute",
        ),
    ],
)
def test_refusals_say_what_was_expected(call, message):
    with pytest.raises(InputError, match=message):
        call()
