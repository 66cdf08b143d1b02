"""Live driving: the newest frame wins, delay is bounded, lost faces hold their pose."""

import threading

import numpy as np
import pytest

from tests.face_points import COLLINS
from tf_talkinghead.driving import expression
from tf_talkinghead.driving.expression import Expression
from tf_talkinghead.driving.live import LiveDriver
from tf_talkinghead.driving.live_motion import LiveMotion
from tf_talkinghead.driving.retargeting import AvatarFace
from tf_talkinghead.driving.strengths import Steering, added
from tf_talkinghead.faces.squares import Face, square_of

FACE = AvatarFace(np.float64(COLLINS))
PATIENCE = 20  # seconds until a test gives up waiting; not a bound on speed


class Model:
    """A landmark model that sees COLLINS, 100 px, as far to the right as the frame is bright."""

    name = "fake"

    def detect(self, image, near=None):
        level = float(image[0, 0, 0])
        points = np.float32(COLLINS * 100 + (level, 0))
        return [] if level == 0 else [Face(square_of(points), points)]

    def follow(self, image, points):
        found = self.detect(image)
        return found[0] if found else Face(square_of(points), points, spread=1.0)


def frame(level):
    return np.full((8, 8, 3), level, np.uint8)


class Gate:
    """A renderer that waits until it is let go, and says what it was given."""

    def __init__(self):
        self.begun, self.go, self.given = threading.Semaphore(0), threading.Semaphore(0), []

    def __call__(self, points):
        self.given.append(points)
        self.begun.release()
        assert self.go.acquire(timeout=PATIENCE)
        return f"jpeg {len(self.given)}"


def test_while_the_renderer_is_busy_only_the_newest_frame_waits():
    gate = Gate()
    with LiveDriver(Model(), FACE, gate, smoothing=False) as live:
        live.submit(frame(10))
        assert gate.begun.acquire(timeout=PATIENCE)
        for level in range(11, 61):  # fifty frames while the first is rendered
            live.submit(frame(level))
        gate.go.release()
        first = live.answer(PATIENCE)
        assert first.number == 0 and first.rendered == "jpeg 1" and first.seen
        # What waited in front of the renderer, then the newest frame of all: no other.
        numbers = []
        while not numbers or numbers[-1] < 50:
            assert gate.begun.acquire(timeout=PATIENCE)
            gate.go.release()
            answer = live.answer(PATIENCE)
            numbers.append(answer.number)
        assert len(numbers) <= 3 and numbers == sorted(numbers) and numbers[-1] == 50
        assert answer.dropped == 50 - len(numbers) and answer.delay > 0
        np.testing.assert_allclose(answer.landmarks, COLLINS * 100 + (60, 0), atol=1e-3)


def test_the_avatar_moves_as_the_driver_does():
    given = []
    with LiveDriver(Model(), FACE, lambda p: given.append(p) or b"", smoothing=False) as live:
        for level in (20, 20, 30):
            live.submit(frame(level))
            assert live.answer(PATIENCE) is not None
    assert given[0].shape == (1, 68, 2) and given[0].dtype == np.float32
    np.testing.assert_allclose(given[0][0], COLLINS, atol=0.02)
    moved = (given[2] - given[0])[0]
    assert moved[:, 0].mean() == pytest.approx(0.1, abs=0.01) and abs(moved[:, 1].mean()) < 1e-3


def test_a_lost_face_holds_its_last_pose():
    given = []
    with LiveDriver(Model(), FACE, lambda p: given.append(p) or b"") as live:
        answers = []
        for level in (0, 20, 0, 25):
            live.submit(frame(level))
            answers.append(live.answer(PATIENCE))
    assert [answer.seen for answer in answers] == [False, True, False, True]
    assert answers[0].rendered is None and answers[0].landmarks is None
    np.testing.assert_array_equal(given[1], given[0])
    assert len(given) == 3


def test_an_error_of_the_renderer_reaches_the_caller():
    def fail(points):
        raise RuntimeError("the server is gone")

    with LiveDriver(Model(), FACE, fail) as live:
        live.submit(frame(10))
        with pytest.raises(RuntimeError, match="the server is gone"):
            live.answer(PATIENCE)


def test_nothing_submitted_is_no_answer():
    with LiveDriver(Model(), FACE, lambda points: b"") as live:
        assert live.answer(timeout=0.01) is None


def test_a_pose_without_a_camera_is_rendered_at_once():
    given = []
    with LiveDriver(Model(), FACE, lambda p: given.append(p[0]) or b"") as live:
        live.pose(more=Expression(jaw=0.2, yaw=10.0), tag="first")
        answer = live.answer(PATIENCE)
        assert (answer.tag, answer.label, answer.seen) == ("first", None, False)
        read = expression.read(given[0], COLLINS)
        assert read.jaw == pytest.approx(0.2, abs=0.02) and read.yaw == pytest.approx(10, abs=0.5)
        live.pose(tag="second")
        assert live.answer(PATIENCE).tag == "second"
        np.testing.assert_allclose(given[1], COLLINS, atol=1e-6)


def test_a_pose_is_added_to_the_camera_and_forgotten_with_it():
    given = []
    decode = lambda level: frame(level)
    with LiveDriver(Model(), FACE, lambda p: given.append(p[0]) or b"", decode=decode) as live:
        live.submit(20, label="one")
        assert live.answer(PATIENCE).label == "one"
        live.pose(Steering(pose=0.0), Expression(jaw=0.15), tag=7)
        live.submit(40, label="two")
        answer = live.answer(PATIENCE)
        assert (answer.label, answer.tag) == ("two", 7)
        read = expression.read(given[1], COLLINS)
        # The driver's move to the right counts nothing, the jaw is added.
        assert abs(read.x) < 0.01 and read.jaw == pytest.approx(0.15, abs=0.02)
        live.forget()
        live.pose(tag=8)
        assert live.answer(PATIENCE).tag == 8
        np.testing.assert_allclose(given[2], COLLINS, atol=1e-6)


def test_what_is_added_stays_within_the_ranges():
    _, high = expression.ranges()["yaw"]
    numbers = np.zeros((3, 16))
    numbers[:, 5] = 1.0  # scale
    numbers[:, 0] = (0.0, high - 5, high + 5)  # the last is beyond, of itself
    numbers[:, -2:] = np.nan
    result = added(numbers, Expression(yaw=10.0, scale=1.1, gaze_x=0.1))
    np.testing.assert_allclose(result[:, 0], [10.0, high, high + 5])
    np.testing.assert_allclose(result[:, 5], 1.1)
    assert np.isnan(result[:, -2:]).all()


def test_the_gaze_follows_the_driver_relative_to_their_usual_one():
    """The eyes look to the right for a while, blink, and look back."""
    pupils = np.stack([COLLINS[36:42].mean(0), COLLINS[42:48].mean(0)])
    motion = LiveMotion(AvatarFace(np.float64(COLLINS), pupils, gaze=True), smoothing=False)
    width = np.linalg.norm(COLLINS[39] - COLLINS[36])

    def step(number, aside):
        eyes = np.full((2, 2), np.nan) if aside is None else pupils + (aside * width, 0)
        points, _ = motion.step(COLLINS * 100, eyes * 100, number * 0.04)
        return points if len(points) == 68 else points[68:, 0] - pupils[:, 0]

    early = [step(number, 0.0) for number in range(10)]
    assert all(len(points) == 68 for points in early), "no gaze before the usual one is known"
    for number in range(10, 40):
        still = step(number, 0.0)
    np.testing.assert_allclose(still, 0.0, atol=1e-3)
    for number in range(40, 46):
        aside = step(number, 0.2)
    np.testing.assert_allclose(aside, 0.2 * width, atol=0.01 * width)
    np.testing.assert_allclose(step(46, None), aside, atol=1e-6)  # a blink
    for number in range(47, 53):
        back = step(number, 0.0)
    np.testing.assert_allclose(back, 0.0, atol=1e-3)
