"""Landmarks of a face: known points, squares, how sure they are, head angles, crops."""

import cv2
import numpy as np
import pytest

from tests.face_footage import moving_face
from tf_talkinghead.config import PreparationConfig
from tf_talkinghead.errors import InputError, NoFaceError
from tf_talkinghead.faces import crops, geometry, landmarks, tracking
from tf_talkinghead.faces.landmarks import DlibLandmarks
from tf_talkinghead.faces.squares import square_of


@pytest.fixture(scope="module")
def model():
    return crops.default_landmarks()


def test_points_of_a_known_face(model, portrait):
    (face,) = model.detect(portrait)
    eyes = face.points[36:42].mean(0), face.points[42:48].mean(0)
    np.testing.assert_allclose(eyes, [[203, 101], [246, 103.5]], atol=2.5)  # read off the picture
    assert (
        face.points[8, 1] > face.points[57, 1] > face.points[33, 1] > face.points[27, 1]
    )  # chin, mouth, nose, bridge
    x, y, side = face.square
    assert abs(x - 225) < 15 and abs(y - 120) < 20 and 80 < side < 140


def test_points_scale_with_the_picture(model, portrait):
    head = portrait[:260, 90:350]
    (face,) = model.detect(head)
    for scale in (0.5, 2.5):
        image = cv2.resize(
            head,
            None,
            fx=scale,
            fy=scale,
            interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC,
        )
        (other,) = model.detect(image)
        gap = np.linalg.norm((other.points + 0.5) / scale - 0.5 - face.points, axis=1).mean()
        assert gap < 0.05 * geometry.eye_distance(face.points)


def test_square_follows_its_points():
    points = np.random.default_rng(0).uniform(50, 150, (68, 2)).astype(np.float32)
    x, y, side = square_of(points)
    moved = square_of(3 * points + 7)
    np.testing.assert_allclose(moved, (3 * x + 7, 3 * y + 7, 3 * side), rtol=1e-5)


def test_hard_detector_finds_a_face(model, portrait):
    small = np.ascontiguousarray(portrait[:220, 120:340])
    (face,) = model.detect(small)
    hard = model.detect_hard(small, face)
    assert np.linalg.norm(
        hard[0].points - face.points, axis=1
    ).mean() < 0.08 * geometry.eye_distance(face.points)


def test_no_face_and_models_of_no_use(model, tmp_path):
    assert model.detect(np.full((120, 160, 3), 128, np.uint8)) == []
    with pytest.raises(InputError, match="no such file"):
        DlibLandmarks(tmp_path / "none.dat")
    (tmp_path / "junk.dat").write_bytes(b"junk")
    with pytest.raises(InputError, match="not a dlib shape predictor"):
        DlibLandmarks(tmp_path / "junk.dat")
    with pytest.raises(InputError, match="expected 68 points, got 5"):
        DlibLandmarks(landmarks.model_file("shape_predictor_5_face_landmarks.dat"))


def test_tracked_points_are_the_detected_ones(model, portrait):
    frames = moving_face(portrait, 16, size=240)
    tracker = tracking.follow_faces(frames, model, every=8)
    assert tracker.detections == 2 and len(tracker.tracks) == 1
    tracked = tracking.track(frames, model, every=8)
    detected = np.stack([model.detect(frame)[0].points for frame in frames])
    gaps = np.linalg.norm(tracked - detected, axis=-1).mean(-1) / geometry.eye_distance(detected)
    assert gaps.mean() < 0.02 and gaps.max() < 0.05


def test_points_depend_little_on_the_square_they_are_predicted_in(model, portrait):
    """Followed from displaced points: a sixth or less of the displacement is left."""
    (face,) = model.detect(portrait)
    x, y, side = face.square
    displaced = [
        face.points + np.float32([0.06 * side, 0]),
        face.points + np.float32([0, -0.06 * side]),
        ((face.points - (x, y)) * 1.12 + (x, y)).astype(np.float32),
    ]
    answers = [model.follow(portrait, points) for points in displaced]
    before = [np.linalg.norm(points - face.points, axis=-1).mean() for points in displaced]
    after = [np.linalg.norm(answer.points - face.points, axis=-1).mean() for answer in answers]
    assert np.mean(after) < np.mean(before) / 6
    assert np.mean(after) < 0.01 * geometry.eye_distance(face.points)


def test_spread_tells_a_face_from_none(model, portrait):
    (face,) = model.detect(portrait)
    wall = np.random.default_rng(0).integers(0, 256, portrait.shape, np.uint8)
    assert (
        face.spread
        < 0.5 * landmarks.UNSURE
        < landmarks.UNSURE
        < model.follow(wall, face.points).spread
    )


def test_points_that_slipped_off_are_refined_again(model, portrait):
    (face,) = model.detect(portrait)
    astray = model.follow(portrait, face.points + np.float32([0.3 * face.square.side, 0]))
    assert astray.spread < landmarks.UNSURE
    assert np.linalg.norm(
        astray.points - face.points, axis=-1
    ).mean() < 0.02 * geometry.eye_distance(face.points)


def test_a_confirmed_face_keeps_its_points(model, portrait):
    (face,) = model.detect(portrait)
    known = face._replace(points=face.points + np.float32([0.4, -0.3]))
    (confirmed,) = model.detect(portrait, known)
    np.testing.assert_allclose(confirmed.points, known.points, atol=1e-3)
    (other,) = model.detect(portrait, face._replace(points=face.points + np.float32([9, 0])))
    assert np.linalg.norm(
        other.points - face.points, axis=-1
    ).mean() < 0.02 * geometry.eye_distance(face.points)


def test_face_crops_of_a_clip_and_a_photo(model, portrait):
    frames, config = moving_face(portrait, 5), PreparationConfig()
    clip = crops.face_crops(frames, 64, config, model)
    assert clip.images.shape == (5, 64, 64, 3) and clip.landmarks.shape == (5, 68, 2)
    assert clip.kept.tolist() == [0, 1, 2, 3, 4]
    assert 0.1 < clip.landmarks[..., 0].min() and clip.landmarks[..., 1].max() < 0.95
    again = crops.face_crops(lambda: iter(frames), 64, config, model)
    np.testing.assert_array_equal(clip.images, again.images)
    photo = crops.face_crops([frames[0]], 64, config, model)
    assert photo.images.shape == (1, 64, 64, 3)
    small = cv2.resize(portrait, (210, 210), interpolation=cv2.INTER_AREA)
    with pytest.raises(NoFaceError, match="face too small: 4. px"):
        crops.face_crops([small], 64, config, model)


def test_head_angles_have_the_right_sign(model, portrait):
    points = model.detect(portrait)[0].points
    _, _, level = geometry.head_angles(points)
    turn = cv2.getRotationMatrix2D((225, 120), -15, 1)  # clockwise
    _, _, rolled = geometry.head_angles(
        model.detect(cv2.warpAffine(portrait, turn, (512, 512)))[0].points
    )
    assert rolled - level == pytest.approx(15, abs=3)
    mirrored = geometry.mirrored(points, 511)
    np.testing.assert_allclose(
        geometry.head_angles(mirrored) * [-1, 1, -1], geometry.head_angles(points), atol=0.5
    )
    nose_right = points.copy()
    nose_right[27:36] += (6, 0)
    assert geometry.head_angles(nose_right)[0] > geometry.head_angles(points)[0]
