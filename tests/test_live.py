"""Live driving: the newest frame wins, delay is bounded, lost faces hold their pose."""

import threading

import numpy as np
import pytest

from tests.face_points import COLLINS
from tf_talkinghead.driving.live import LiveDriver
from tf_talkinghead.driving.retargeting import AvatarFace
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
