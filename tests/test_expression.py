"""Expressions as numbers: round trips, what each number moves, refusals."""

import dataclasses
import warnings

import numpy as np
import pytest

from tests.face_points import COLLINS
from tf_talkinghead.driving.expression import (
    Expression,
    express,
    express_motion,
    ranges,
    read,
    read_motion,
)
from tf_talkinghead.driving.face_model import NAMES
from tf_talkinghead.errors import InputError
from tf_talkinghead.faces import geometry

EYES = float(geometry.eye_distance(COLLINS))
PUPILS = np.array([(0.385, 0.352), (0.626, 0.361)], np.float32)
WITH_PUPILS = np.concatenate([COLLINS, PUPILS])


def random_numbers(count=60, share=0.9):
    """Numbers within that share of their ranges."""
    limits = np.array([ranges()[name] for name in NAMES])
    middle, half = limits.mean(axis=1), np.ptp(limits, axis=1) / 2
    return middle + share * half * np.random.default_rng(7).uniform(-1, 1, (count, len(NAMES)))


def across(points, right, left):
    """Vector between two of the points along the eye line and down the face, in eye distances."""
    return (points[left] - points[right]) @ geometry.face_axes(points) / EYES


@pytest.mark.parametrize("turned", [(0, 0, 0), (18, 0, 0), (0, 9, -20)])
def test_numbers_come_back_whatever_the_references_own_pose(turned):
    reference = geometry.turned(COLLINS, *turned)
    reference = np.concatenate([reference, reference[[36, 42]] * 0.5 + reference[[39, 45]] * 0.5])
    numbers = random_numbers()
    back = read_motion(express_motion(reference, numbers), reference)
    np.testing.assert_allclose(back, numbers, atol=2e-3)  # float32 landmarks; angles in degrees


def test_one_expression_comes_back():
    wink = Expression(yaw=12, lid_left=0.7, smile=0.05, gaze_x=0.1, gaze_y=-0.02)
    back = read(express(COLLINS, wink), COLLINS)
    for field in dataclasses.fields(Expression):
        assert getattr(back, field.name) == pytest.approx(getattr(wink, field.name), abs=1e-3)


def test_default_expression_is_the_reference():
    np.testing.assert_allclose(express(COLLINS, Expression()), COLLINS, atol=1e-6)
    np.testing.assert_allclose(
        express(WITH_PUPILS, Expression(gaze_x=0, gaze_y=0)), WITH_PUPILS, atol=1e-6
    )
    back = read(COLLINS, COLLINS)
    assert np.isnan(back.gaze_x) and np.isnan(back.gaze_y)
    np.testing.assert_allclose(
        dataclasses.astuple(back)[:-2], dataclasses.astuple(Expression())[:-2], atol=1e-6
    )


def test_rows_of_the_result_follow_reference_and_gaze():
    assert express(COLLINS, Expression()).shape == (68, 2)
    assert express(COLLINS, Expression(gaze_x=0, gaze_y=0)).shape == (70, 2)
    unknown = express(WITH_PUPILS, Expression(yaw=5))
    assert unknown.shape == (70, 2) and np.isnan(unknown[68:]).all()
    assert np.isfinite(unknown[:68]).all() and unknown.dtype == np.float32


def test_each_number_moves_what_its_name_says():
    """Read off the landmarks themselves, in eye distances, without the model."""

    def moved(points_of, **numbers):
        return points_of(express(COLLINS, Expression(**numbers))) - points_of(COLLINS)

    def gap(upper, lower):
        return lambda points: np.linalg.norm(points[lower] - points[upper], axis=-1).mean() / EYES

    right_gap, left_gap = gap([37, 38], [41, 40]), gap([43, 44], [47, 46])
    assert moved(right_gap, lid_right=0.6) == pytest.approx(-0.6 * right_gap(COLLINS), rel=0.1)
    assert moved(left_gap, lid_left=0.6) == pytest.approx(-0.6 * left_gap(COLLINS), rel=0.1)
    assert moved(left_gap, lid_right=0.6) == pytest.approx(0, abs=1e-3)
    assert moved(gap([61, 62, 63], [67, 66, 65]), jaw=0.3) == pytest.approx(0.3, rel=0.1)
    assert moved(gap([33], [8]), jaw=0.3) > 0.15  # the chin follows
    assert moved(gap([48], [54]), mouth_width=0.15) == pytest.approx(0.15, rel=0.1)
    assert moved(gap([48], [54]), pucker=0.08) < -0.03

    def corners(points):
        return across(points, 51, 48)[1] + across(points, 51, 54)[1]

    assert moved(corners, smile=0.06) < -0.08  # y is downwards
    for name, brow, eye in (("brow_right", 19, 37), ("brow_left", 24, 44)):
        raised = moved(lambda points, b=brow, e=eye: across(points, e, b)[1], **{name: 0.1})
        assert raised == pytest.approx(-0.1, abs=0.04)


@pytest.mark.parametrize("name, index", [("yaw", 0), ("pitch", 1), ("roll", 2)])
def test_angles_agree_with_the_faces_geometry(name, index):
    for degrees in (-12.0, 12.0):
        points = express(COLLINS, Expression(**{name: degrees}))
        change = geometry.head_angles(points) - geometry.head_angles(COLLINS)
        assert np.argmax(np.abs(change)) == index
        assert np.sign(change[index]) == np.sign(degrees)


def test_place_and_size():
    moved = express(COLLINS, Expression(x=0.5, y=-0.25))
    np.testing.assert_allclose(
        moved - COLLINS, np.tile([0.5 * EYES, -0.25 * EYES], (68, 1)), rtol=0.1
    )
    larger = express(COLLINS, Expression(scale=1.2))
    assert geometry.eye_distance(larger) == pytest.approx(1.2 * EYES, rel=1e-5)


def test_gaze_moves_both_pupils_by_eye_widths():
    ahead = express(WITH_PUPILS, Expression(gaze_x=0.0, gaze_y=0.0))
    aside = express(WITH_PUPILS, Expression(gaze_x=0.1, gaze_y=0.05))
    width = np.linalg.norm(COLLINS[39] - COLLINS[36])
    axes = geometry.face_axes(COLLINS)
    np.testing.assert_allclose(
        (aside - ahead)[68:] @ axes,
        np.tile([0.1 * width, 0.05 * width], (2, 1)),
        atol=0.1 * 0.1 * width,
    )
    np.testing.assert_array_equal(aside[:68], ahead[:68])


def test_one_pupil_is_enough_to_read_the_gaze():
    aside = express(WITH_PUPILS, Expression(gaze_x=0.12, gaze_y=0.03))
    aside[68] = np.nan
    back = read(aside, WITH_PUPILS)
    assert (back.gaze_x, back.gaze_y) == pytest.approx((0.12, 0.03), abs=1e-3)


def test_numbers_do_not_depend_on_where_the_face_lies():
    points = express(COLLINS, Expression(yaw=10, jaw=0.2, smile=0.03))
    here = read_motion(points[None], COLLINS)
    elsewhere = read_motion(points[None] * 0.5 + 0.2, COLLINS * 0.5 + 0.2)
    np.testing.assert_allclose(elsewhere[:, :-2], here[:, :-2], atol=1e-4)


def test_mirrored_face_has_mirrored_numbers():
    points = express(COLLINS, Expression(yaw=10, roll=5, lid_right=0.5, brow_left=0.08, smile=0.03))
    there = read(geometry.mirrored(points), geometry.mirrored(COLLINS))
    assert there.yaw == pytest.approx(-10, abs=0.01) and there.roll == pytest.approx(-5, abs=0.01)
    assert there.lid_left == pytest.approx(0.5, abs=1e-3)
    assert there.brow_right == pytest.approx(0.08, abs=1e-3)
    assert there.smile == pytest.approx(0.03, abs=1e-3)


def test_numbers_beyond_the_ranges_are_clamped_with_a_warning():
    low, high = ranges()["jaw"]
    with pytest.warns(UserWarning, match="jaw"):
        points = express(COLLINS, Expression(jaw=high + 1))
    np.testing.assert_array_equal(points, express(COLLINS, Expression(jaw=high)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        express(COLLINS, Expression(jaw=low))
        express(COLLINS, Expression(jaw=high))


def test_every_range_holds_the_reference():
    for name, (low, high) in ranges().items():
        rest = 1.0 if name == "scale" else 0.0
        assert low < rest < high, name


@pytest.mark.parametrize(
    "reference, expression, named",
    [
        (COLLINS[:67], Expression(), "reference"),
        (COLLINS[None], Expression(), "reference"),
        (np.full((68, 2), np.nan), Expression(), "reference"),
        (np.zeros((68, 2)), Expression(), "reference"),
        (COLLINS, Expression(jaw=np.nan), "jaw"),
        (COLLINS, Expression(gaze_x=np.inf), "gaze_x"),
        (COLLINS, Expression(scale=0.0), "scale"),
    ],
)
def test_impossible_input_is_refused_by_name(reference, expression, named):
    with pytest.raises(InputError, match=named):
        express(reference, expression)


def test_other_landmarks_are_refused():
    with pytest.raises(InputError, match="landmarks"):
        read(COLLINS[None], COLLINS)
    with pytest.raises(InputError, match="landmarks"):
        read_motion(np.full((3, 68, 2), np.nan), COLLINS)
