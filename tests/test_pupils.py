"""The pupil finder, on drawn eyes whose pupils are known and on marked eyes of real pictures."""

import cv2
import numpy as np
import pytest

from tests import pupil_marks
from tests.face_points import COLLINS
from tf_talkinghead.errors import InputError
from tf_talkinghead.faces import cropping, crops, geometry
from tf_talkinghead.faces.pupils import blinks, find_pupils, lid_openings

SIZE = 256


def drawn_eyes(points, pupils, size=SIZE, finer=4):
    """A face's eyes: skin, white between the lids, a brown iris with a highlight; uint8 RGB.

    `points` [68, 2] and `pupils` [2, 2] in fractions. Drawn `finer` times as large, then reduced.
    """
    side = size * finer
    image = np.full((side, side, 3), (205, 160, 140), np.uint8)
    for part, pupil in zip((geometry.RIGHT_EYE, geometry.LEFT_EYE), pupils):
        white = np.zeros((side, side), np.uint8)
        lids = np.round(points[part] * side).astype(np.int32)
        cv2.fillPoly(white, [lids], 1)
        eye = image.copy()
        eye[white > 0] = (235, 232, 228)
        width = np.linalg.norm(points[part][3] - points[part][0]) * side
        centre = tuple(int(value) for value in np.round(pupil * side))
        cv2.circle(eye, centre, round(0.21 * width), (90, 60, 40), -1)
        cv2.circle(eye, centre, round(0.09 * width), (15, 10, 10), -1)
        light = (centre[0] + round(0.05 * width), centre[1] - round(0.05 * width))
        cv2.circle(eye, light, round(0.03 * width), (255, 255, 255), -1)
        image[white > 0] = eye[white > 0]
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)


def gaze(right, down):
    """Pupils of Collins's eyes moved by shares of the eye's width from the lids' middle, [2, 2]."""
    eyes = [COLLINS[geometry.RIGHT_EYE], COLLINS[geometry.LEFT_EYE]]
    middles = np.stack([eye.mean(axis=0) for eye in eyes])
    widths = [np.linalg.norm(eye[3] - eye[0]) for eye in eyes]
    return middles + np.array([(right, down)]) * np.array(widths)[:, None]


@pytest.mark.parametrize(
    "right, down", [(0, 0), (-0.2, 0), (0.2, 0), (0, -0.06), (0, 0.06), (0.1, 0.03)]
)
def test_drawn_pupils_are_found_wherever_they_look(right, down):
    pupils = gaze(right, down)
    found = find_pupils(drawn_eyes(COLLINS, pupils)[None], COLLINS[None])[0]
    assert found.dtype == np.float32 and found.shape == (2, 2)
    width = np.linalg.norm(COLLINS[39] - COLLINS[36])
    # The lids cover the iris's upper and lower edge, so its height is known less well.
    assert np.abs(found - pupils)[:, 0].max() < 0.05 * width
    assert np.abs(found - pupils)[:, 1].max() < 0.08 * width


def test_found_gaze_follows_the_drawn_one():
    angles = np.linspace(0, 2 * np.pi, 9)[:-1]
    true = np.stack([gaze(0.18 * np.cos(a), 0.05 * np.sin(a)) for a in angles])
    images = np.stack([drawn_eyes(COLLINS, pupils) for pupils in true])
    found = find_pupils(images, np.repeat(COLLINS[None], len(angles), 0))
    for eye in range(2):
        assert np.corrcoef(found[:, eye, 0], true[:, eye, 0])[0, 1] > 0.995
        assert np.corrcoef(found[:, eye, 1], true[:, eye, 1])[0, 1] > 0.9


def test_mirrored_picture_gives_mirrored_pupils():
    image = drawn_eyes(COLLINS, gaze(0.15, 0.02))
    found = find_pupils(image[None], COLLINS[None])[0]
    flipped = find_pupils(image[None, :, ::-1], geometry.mirrored(COLLINS)[None])[0]
    np.testing.assert_allclose(flipped[::-1] * (-1, 1) + (1, 0), found, atol=0.002)


@pytest.mark.parametrize("size", [128, 384])
def test_fractions_do_not_depend_on_the_pictures_size(size):
    pupils = gaze(-0.1, 0.0)
    reference = find_pupils(drawn_eyes(COLLINS, pupils)[None], COLLINS[None])
    other = find_pupils(drawn_eyes(COLLINS, pupils, size)[None], COLLINS[None])
    np.testing.assert_allclose(other, reference, atol=0.004)


def test_frame_need_not_be_square():
    image = drawn_eyes(COLLINS, gaze(0.1, 0.0))
    wide = np.pad(image, ((0, 0), (0, SIZE), (0, 0)), mode="edge")
    found = find_pupils(wide[None], (COLLINS * (0.5, 1))[None])
    expected = find_pupils(image[None], COLLINS[None]) * (0.5, 1)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_rolled_head_gives_rolled_pupils():
    image = drawn_eyes(COLLINS, gaze(0.12, 0.0))
    turn = cv2.getRotationMatrix2D(((SIZE - 1) / 2,) * 2, 25, 1.0)
    rolled = cv2.warpAffine(image, turn, (SIZE, SIZE), borderMode=cv2.BORDER_REPLICATE)

    def moved(points):
        pixels = points * SIZE - 0.5
        return (pixels @ turn[:, :2].T + turn[:, 2] + 0.5) / SIZE

    found = find_pupils(rolled[None], moved(COLLINS)[None])[0]
    expected = moved(find_pupils(image[None], COLLINS[None])[0])
    np.testing.assert_allclose(found, expected, atol=0.004)


def test_shut_eyes_have_no_pupils():
    shut = geometry.expressed(COLLINS.astype(float), 1.0, 0.0, 0.0)
    assert lid_openings(shut).max() < 0.1
    found = find_pupils(drawn_eyes(shut, gaze(0, 0))[None], shut[None])
    assert np.isnan(found).all()


def test_blinks_are_told_by_each_persons_own_opening():
    """A blink of wide eyes stays wider than narrow eyes at rest, and is left out all the same."""
    wide = geometry.expressed(COLLINS.astype(float), -0.6, 0.0, 0.0)
    half = geometry.expressed(wide, 0.6, 0.0, 0.0)
    narrow = geometry.expressed(wide, 0.5, 0.0, 0.0)
    assert 0.145 < lid_openings(half).mean() < 0.6 * lid_openings(wide).mean()
    clip = np.stack([wide] * 9 + [half])
    assert blinks(clip).tolist() == [False] * 9 + [True]
    assert not blinks(np.stack([narrow] * 10)).any()
    assert not blinks(half[None]).any()  # one photo has no usual opening


def test_sunglasses_hide_pupils():
    black = np.full((1, SIZE, SIZE, 3), 12, np.uint8)
    assert np.isnan(find_pupils(black, COLLINS[None])).all()


def test_unknown_landmarks_give_nan_in_their_frame_alone():
    image = drawn_eyes(COLLINS, gaze(0, 0))
    unknown = np.full_like(COLLINS, np.nan)
    found = find_pupils(np.stack([image] * 2), np.stack([unknown, COLLINS]))
    assert np.isnan(found[0]).all() and np.isfinite(found[1]).all()


def test_eye_outside_the_frame_gives_nan():
    offset = np.array([0.4, 0.0], np.float32)  # the left eye leaves the frame
    image = drawn_eyes(COLLINS + offset, gaze(0, 0) + offset)
    found = find_pupils(image[None], (COLLINS + offset)[None])[0]
    assert np.isfinite(found[0]).all() and np.isnan(found[1]).all()


def test_no_frames_give_no_pupils():
    empty = find_pupils(np.zeros((0, 8, 8, 3), np.uint8), np.zeros((0, 68, 2)))
    assert empty.shape == (0, 2, 2) and empty.dtype == np.float32


@pytest.mark.parametrize(
    "images, landmarks, named",
    [
        (np.zeros((1, 8, 8, 3), np.float32), np.zeros((1, 68, 2)), "images"),
        (np.zeros((8, 8, 3), np.uint8), np.zeros((68, 2)), "images"),
        (np.zeros((2, 8, 8, 3), np.uint8), np.zeros((1, 68, 2)), "landmarks"),
        (np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 70, 2)), "landmarks"),
    ],
)
def test_other_shapes_are_refused(images, landmarks, named):
    with pytest.raises(InputError, match=named):
        find_pupils(images, landmarks)


def test_pupils_of_a_photograph(portrait):
    """Marked by eye on an 8x enlargement of scikit-image's portrait, pixels."""
    model = crops.default_landmarks()
    points = model.detect(portrait)[0].points
    fractions = (points + 0.5) / portrait.shape[0]
    found = find_pupils(portrait[None], fractions[None])[0] * portrait.shape[0] - 0.5
    eyes = float(geometry.eye_distance(points))
    assert np.linalg.norm(found - PORTRAIT_PUPILS, axis=-1).max() < 0.04 * eyes


PORTRAIT_PUPILS = np.array([(203.4, 100.4), (246.4, 102.7)])


def test_marked_eyes_of_real_pictures(real_data, capsys):
    """The reported half: errors as shares of the eye distance and of the eye's width."""
    model = crops.default_landmarks()
    errors, floors = [], []
    for mark in pupil_marks.read_marks():
        if mark.half != "report" or not (real_data / mark.file).is_file():
            continue
        image = pupil_marks.picture(real_data, mark)
        points = cropping.to_fractions(model.detect(image)[0].points, mark.box)
        found = find_pupils(pupil_marks.square(real_data, mark)[None], points[None])[0, mark.eye]
        units = geometry.eye_distance(points), np.linalg.norm(points[39] - points[36])
        errors.append([np.linalg.norm(found - mark.centre) / unit for unit in units])
        gap = np.linalg.norm(mark.passes[0] - mark.passes[1]) / pupil_marks.SIZE
        floors.append([gap / unit for unit in units])
    if not errors:
        pytest.skip("none of the marked pictures is there")
    errors, floors = np.array(errors), np.array(floors)
    with capsys.disabled():
        for name, column in (("eye distance", 0), ("eye width", 1)):
            print(
                f"\npupils, {len(errors)} eyes, share of the {name}:"
                f" mean {errors[:, column].mean():.2%},"
                f" median {np.median(errors[:, column]):.2%}, worst {errors[:, column].max():.2%};"
                f" floor {floors[:, column].mean():.2%}"
            )
    assert np.median(errors[:, 0]) < 0.02
    assert errors[:, 0].mean() < 0.025
