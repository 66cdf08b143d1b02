"""Motion files: round trips, CSV by hand, and one line naming the flag for each bad file."""

import base64
import dataclasses
import json
import zlib

import numpy as np
import pytest

from tests.face_points import COLLINS
from tf_talkinghead.driving.face_model import NAMES
from tf_talkinghead.driving.landmark_packing import pack, unpack
from tf_talkinghead.driving.motion_file import (
    Motion,
    read_motion_file,
    resampled,
    write_motion_file,
)
from tf_talkinghead.driving.scripted_motion import scripted_motion
from tf_talkinghead.errors import InputError

RNG = np.random.default_rng(4)


def motion(landmarks=None):
    numbers = RNG.normal(0, 0.1, (5, len(NAMES)))
    numbers[:, NAMES.index("scale")] = 1.0
    numbers[2, -2:] = np.nan
    return Motion(np.arange(5) / 25, numbers, landmarks)


@pytest.mark.parametrize("name", ["a.csv", "a.json", "A.JSON"])
def test_round_trip(tmp_path, name):
    saved = motion()
    write_motion_file(tmp_path / name, saved)
    back = read_motion_file(tmp_path / name)
    np.testing.assert_allclose(back.times, saved.times, atol=6e-5)
    np.testing.assert_allclose(back.numbers, saved.numbers, atol=6e-5)
    assert back.landmarks is None


@pytest.mark.parametrize("points", [68, 70])
def test_json_keeps_landmarks(tmp_path, points):
    landmarks = RNG.uniform(0, 1, (5, points, 2)).astype(np.float32)
    landmarks[1, 68:] = np.nan
    neutral = landmarks[0, :68]
    saved = dataclasses.replace(motion(landmarks), neutral=neutral)
    write_motion_file(tmp_path / "a.json", saved)
    back = read_motion_file(tmp_path / "a.json")
    assert back.landmarks.dtype == back.neutral.dtype == np.float32
    np.testing.assert_allclose(back.landmarks, landmarks, atol=1.1e-4)  # half of 1/5000
    np.testing.assert_allclose(back.neutral, neutral, atol=6e-5)


def test_a_second_of_motion_takes_a_few_kilobytes(tmp_path):
    landmarks = scripted_motion(COLLINS, fps=25)
    landmarks += RNG.normal(0, 5e-4, landmarks.shape)  # as unsteady as found landmarks
    frames = len(landmarks)
    numbers = RNG.normal(0, 0.1, (frames, len(NAMES))).clip(-0.3, 0.3)
    numbers[:, NAMES.index("scale")] = 1.0
    write_motion_file(
        tmp_path / "a.json", Motion(np.arange(frames) / 25, numbers, np.float32(landmarks))
    )
    assert (tmp_path / "a.json").stat().st_size < 300 * frames
    back = read_motion_file(tmp_path / "a.json").landmarks
    np.testing.assert_allclose(back, landmarks, atol=1.1e-4)


def test_lists_of_schema_1_are_read(tmp_path):
    landmarks = [[[0.25, 0.5]] * 68] * 2
    (tmp_path / "a.json").write_text(json.dumps(GOOD | {"schema": 1, "landmarks": landmarks}))
    np.testing.assert_array_equal(read_motion_file(tmp_path / "a.json").landmarks, landmarks)


def test_points_far_outside_come_back_within_six_crops():
    far = np.full((3, 68, 2), 100.0)
    far[1] = -0.5
    np.testing.assert_allclose(unpack(pack(far), 3)[1], -0.5, atol=1e-4)
    assert unpack(pack(far), 3)[0].max() > 6


def test_hand_written_csv_needs_only_what_moves(tmp_path):
    path = tmp_path / "talk.csv"
    path.write_text("\ufefftime, jaw,gaze_x\n0,0.1,\n\n0.5,0.2,0.05\n", "utf-8")
    read = read_motion_file(path)
    assert read.times.tolist() == [0.0, 0.5]
    row = dict(zip(NAMES, read.numbers[1]))
    assert row["jaw"] == 0.2 and row["scale"] == 1.0 and row["yaw"] == 0.0
    assert row["gaze_x"] == 0.05 and row["gaze_y"] == 0.0  # half a gaze is none: level
    assert np.isnan(read.numbers[0, NAMES.index("gaze_x")])


BOMB = base64.b64encode(zlib.compress(bytes(10**7))).decode()
GOOD = {"schema": 2, "names": ["jaw"], "times": [0, 1], "numbers": [[0], [1]]}


@pytest.mark.parametrize(
    "name, text, said",
    [
        ("a.txt", "", ".csv or .json"),
        ("a.csv", "", "empty"),
        ("a.csv", "time,jaw\n", "no frames"),
        ("a.csv", "jaw\n0\n", "header"),
        ("a.csv", "time,jaw,jaw\n0,0,0\n", "header"),
        ("a.csv", "time,mouth\n0,0\n", "unknown numbers mouth"),
        ("a.csv", "time,jaw\n0,wide\n", "row 2: jaw: expected a number, got 'wide'"),
        ("a.csv", "time,jaw\n0,\n", "row 2: jaw"),
        ("a.csv", "time,jaw\n0,nan\n", "jaw: expected a finite number, got nan in frame 0"),
        ("a.csv", "time,jaw\n0\n", "row 2: expected 2 cells, got 1"),
        ("a.csv", "time,jaw\n0,0\n0,0\n", "rising"),
        ("a.csv", "time,scale\n0,0\n", "scale"),
        ("a.json", "", "empty"),
        ("a.json", "{", "not JSON"),
        ("a.json", "[]", "JSON object"),
        ("a.json", json.dumps(GOOD | {"schema": 3}), "expected schema 1 or 2, got 3"),
        ("a.json", json.dumps(GOOD | {"names": "jaw"}), "names"),
        ("a.json", json.dumps(GOOD | {"numbers": [[0], [None]]}), "jaw"),
        ("a.json", json.dumps(GOOD | {"numbers": [[0], [1, 2]]}), "numbers"),
        ("a.json", json.dumps(GOOD | {"numbers": [["x"], [1]]}), "numbers"),
        ("a.json", json.dumps(GOOD | {"times": []}), "no frames"),
        ("a.json", json.dumps(GOOD | {"landmarks": [[[0, 0]] * 5] * 2}), "68 or 70"),
        ("a.json", json.dumps(GOOD | {"landmarks": "no base64"}), "not packed landmarks"),
        ("a.json", json.dumps(GOOD | {"landmarks": "AAAA"}), "not packed landmarks"),
        ("a.json", json.dumps(GOOD | {"landmarks": BOMB}), "2 frames of 68 or 70 points"),
        ("a.json", json.dumps(GOOD | {"landmarks": [[[None, 0]] * 68] * 2}), "finite"),
    ],
)
def test_bad_files_are_one_line_that_names_the_flag(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as error:
        read_motion_file(tmp_path / name)
    message = str(error.value)
    assert message.startswith("--expression: ") and said in message and "\n" not in message


def test_missing_and_binary_files_name_the_flag(tmp_path):
    with pytest.raises(InputError, match=r"--motion: .*No such file"):
        read_motion_file(tmp_path / "none.csv", flag="--motion")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(InputError, match=r"--expression: .*not a text file"):
        read_motion_file(tmp_path / "b.csv")


def test_resampling_is_linear_and_keeps_unknown_gaze_unknown():
    numbers = np.zeros((3, len(NAMES)))
    numbers[:, NAMES.index("jaw")] = (0.0, 0.4, 0.2)
    numbers[:, -2] = (0.1, 0.1, np.nan)
    frames = resampled(Motion(np.array([1.0, 1.4, 1.8]), numbers), 10)
    np.testing.assert_allclose(
        frames[:, NAMES.index("jaw")], [0, 0.1, 0.2, 0.3, 0.4, 0.35, 0.3, 0.25, 0.2], atol=1e-9
    )
    assert np.isfinite(frames[:4, -2]).all() and np.isnan(frames[5:, -2]).all()
    with pytest.raises(InputError, match="fps"):
        resampled(Motion(np.zeros(1), numbers[:1]), 0)


def test_other_endings_are_not_written(tmp_path):
    with pytest.raises(InputError, match=r"\.csv or \.json"):
        write_motion_file(tmp_path / "a.npz", motion())
    assert not list(tmp_path.iterdir())
