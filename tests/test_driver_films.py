"""What a driver's motion does at cuts, lost faces, several faces, dark and tiny ones."""

import cv2
import numpy as np
import pytest

from tf_talkinghead.config import PreparationConfig
from tf_talkinghead.data import video
from tf_talkinghead.driving.driver import read_driver
from tf_talkinghead.errors import InputError, NoFaceError

FPS = 12.5


def placed(portrait, x, y=10, scale=0.7, size=(480, 300), shade=1.0):
    """The portrait on a plain wall, moved and scaled."""
    place = np.float32([[scale, 0, x], [0, scale, y]])
    wall = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": (90, 90, 90)}
    picture = cv2.warpAffine(portrait, place, size, **wall)
    return np.uint8(picture * shade)


def film(path, frames):
    video.write_video(path, frames, FPS)
    return path


def driven(path, **options):
    return read_driver(path, PreparationConfig(), progress=False, **options)


def test_a_cut_is_a_jump_that_is_not_smeared(portrait, tmp_path):
    """The same face, half its width aside from frame 8 on, on another wall."""
    before = [placed(portrait, 20 + t % 2) for t in range(8)]
    after = [255 - placed(255 - portrait, 60 + t % 2) for t in range(8)]  # a light wall
    path = film(tmp_path / "cut.mp4", before + after)
    rough, calm = driven(path, smoothing=False), driven(path)
    assert calm.seen.all()
    jump = rough.landmarks[8] - rough.landmarks[7]
    assert jump[:, 0].mean() > 0.1
    for t in (7, 8):  # within the trembling of a frame, where the cut is ten times that
        off = np.abs(calm.landmarks[t] - rough.landmarks[t]).mean()
        assert off < 0.1 * jump[:, 0].mean()


def test_a_lost_face_holds_its_pose_and_comes_back_unsmeared(portrait, tmp_path):
    frames = [placed(portrait, 20 + 2 * t) for t in range(24)]
    for t in range(8, 14):
        frames[t] = np.full_like(frames[t], 90)
    motion = driven(film(tmp_path / "lost.mp4", frames))
    # Frames just before the loss do not count either, unless the detector has confirmed them.
    last = int(np.flatnonzero(motion.seen[:8])[-1])
    assert last >= 4 and not motion.seen[last + 1 : 14].any() and motion.seen[16:].all()
    for t in range(last + 1, 14):
        np.testing.assert_array_equal(motion.landmarks[t], motion.landmarks[last])
    drift = motion.landmarks[20].mean(0) - motion.landmarks[4].mean(0)
    assert drift[0] == pytest.approx(32 / motion.box.side, abs=0.03)
    assert np.isnan(driven(tmp_path / "lost.mp4", gaze=True).pupils[8:14]).all()


def turned_head(portrait, yaw):
    """The portrait, its face on a cylinder turned by `yaw` degrees; hair on its back."""
    middle, half, top, bottom = 222, 62, 30, 200  # of the face, pixels
    across = np.arange(middle - half, middle + half)
    angle = np.arcsin((across - middle + 0.5) / half) - np.deg2rad(yaw)
    source = np.where(np.abs(angle) < np.pi / 2, middle + half * np.sin(angle), -1)
    picture = portrait.copy()
    strip = portrait[top:bottom, source.astype(int).clip(0)]
    strip[:, source < 0] = (70, 45, 30)
    picture[top:bottom, across] = strip
    return picture


def test_a_face_turned_away_holds_its_pose_until_it_comes_back(portrait, tmp_path):
    yaws = [0.0] * 6 + [*np.linspace(10, 90, 9)] + [90.0] * 6 + [0.0] * 10
    frames = [placed(turned_head(portrait, yaw), 20) for yaw in yaws]
    motion = driven(film(tmp_path / "away.mp4", frames))
    # What is followed in its place is given up after some misses, then the face is detected anew.
    assert motion.seen[:6].all() and not motion.seen[15:21].any() and motion.seen[29:].all()
    last = int(np.flatnonzero(motion.seen[:15])[-1])
    for t in range(last + 1, 21):
        np.testing.assert_array_equal(motion.landmarks[t], motion.landmarks[last])
    off = np.abs(motion.landmarks[-1] - motion.landmarks[0]).mean()
    assert off < 0.02  # of the crop: the same face in the same place


def test_of_two_faces_the_named_one_drives(portrait, tmp_path):
    """A large face on the left and a smaller one on the right, in all frames."""
    both = []
    for t in range(8):
        picture = placed(portrait, -60, scale=1.1, size=(640, 400))
        picture[:, 340:] = placed(portrait, t - 60, 30, 0.95, (300, 400))
        both.append(picture)
    path = film(tmp_path / "two.mp4", both)
    left, right = driven(path, face="left"), driven(path, face="2")
    assert left.box.x + left.box.side / 2 < 340 < right.box.x + right.box.side / 2
    np.testing.assert_array_equal(driven(path, face="largest").landmarks, left.landmarks)
    moved = right.landmarks[7].mean(0) - right.landmarks[0].mean(0)
    assert moved[0] * right.box.side == pytest.approx(7, abs=1.5)
    with pytest.raises(InputError, match="--face=3: the driver shows 2 faces"):
        driven(path, face="3")


@pytest.mark.parametrize("scale, shade", [(0.7, 0.25), (0.45, 1.0)])
def test_dark_and_small_faces_are_followed(portrait, tmp_path, scale, shade):
    """A quarter of the light; a face of some 60 pixels."""
    frames = [placed(portrait, 40 + 2 * t, scale=scale, shade=shade) for t in range(8)]
    motion = driven(film(tmp_path / "hard.mp4", frames))
    assert motion.seen.all()
    moved = motion.landmarks[7].mean(0) - motion.landmarks[0].mean(0)
    assert moved[0] * motion.box.side == pytest.approx(14, abs=2)


@pytest.mark.parametrize("scale, shade", [(0.08, 1.0), (0.7, 0.01)])
def test_what_cannot_be_seen_is_said(portrait, tmp_path, scale, shade):
    frames = [placed(portrait, 40, scale=scale, shade=shade) for _ in range(5)]
    with pytest.raises(NoFaceError, match="unseen.mp4: no face found"):
        driven(film(tmp_path / "unseen.mp4", frames))


def test_the_neutral_frame_is_the_named_one(portrait, tmp_path):
    frames = [placed(portrait, 20 + 2 * t) for t in range(6)]
    motion = driven(film(tmp_path / "neutral.mp4", frames), neutral=0.24)
    np.testing.assert_array_equal(motion.neutral, motion.landmarks[3])
    with pytest.raises(InputError, match="--neutral=5: expected 0 to 0.40 seconds"):
        driven(tmp_path / "neutral.mp4", neutral=5)
