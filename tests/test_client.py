"""The client's promises: retries, deadlines, order, refusals before sending, messages."""

import concurrent.futures
import threading
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving import client as client_module
from serving.client import AvatarClient, AvatarError
from tests.toy_models import landmarks
from tf_talkinghead.errors import InputError, TalkingHeadError

Code = grpc.StatusCode


class FakeServer(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers with frames that show the first landmark's x.

    `script` holds codes to refuse the next calls with.
    """

    def __init__(self):
        self.script, self.requests, self.delay = [], [], lambda request: 0.0
        self.ok, self.size, self.damage = True, 2, lambda response: None
        self.seconds_left = []  # of each call's deadline, when it came in
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(self, self._server)
        self.address = f"localhost:{self._server.add_insecure_port('localhost:0')}"
        self._server.start()

    def Predict(self, request, context):
        self.requests.append(request)
        self.seconds_left.append(context.time_remaining())
        if self.script:
            code, details = self.script.pop(0)
            context.abort(code, details)
        time.sleep(self.delay(request))
        x = tf.make_ndarray(request.inputs["landmarks"])[:, 0, 0]
        response = predict_pb2.PredictResponse()
        shape = [len(x), self.size, self.size, 3]
        frames = np.broadcast_to(np.uint8(x * 255)[:, None, None, None], shape)
        response.outputs["frames"].CopyFrom(tf.make_tensor_proto(frames))
        response.outputs["ok"].CopyFrom(tf.make_tensor_proto([self.ok] * len(x)))
        self.damage(response)
        return response

    def stop(self):
        self._server.stop(0)


@pytest.fixture
def fake():
    server = FakeServer()
    yield server
    server.stop()


@pytest.fixture
def avatar(fake):
    with AvatarClient(fake.address, "anna", jpeg=False, rows_per_request=4) as made:
        yield made


@pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED, Code.CANCELLED])
def test_what_may_pass_is_tried_again(fake, avatar, code):
    fake.script = [(code, "busy")] * 3
    assert avatar.render(landmarks(0.5)).shape == (1, 2, 2, 3)
    assert len(fake.requests) == 4


@pytest.mark.parametrize(
    "code",
    [
        Code.NOT_FOUND,
        Code.INVALID_ARGUMENT,
        Code.FAILED_PRECONDITION,
        Code.INTERNAL,
        Code.DEADLINE_EXCEEDED,
    ],
)
def test_everything_else_is_not(fake, avatar, code):
    fake.script = [(code, "the server's words")] * 3
    with pytest.raises(AvatarError, match="the server's words") as error:
        avatar.render(landmarks(0.5))
    assert error.value.code == code and len(fake.requests) == 1
    assert isinstance(error.value, TalkingHeadError)


def test_a_message_over_the_limit_is_not_sent_again(fake, avatar):
    fake.script = [(Code.RESOURCE_EXHAUSTED, "Received message larger than max (5 vs. 4)")] * 3
    with pytest.raises(AvatarError):
        avatar.render(landmarks(0.5))
    assert len(fake.requests) == 1


class Clock:
    """Stands in for the module `time` in the client: sleeping takes no time, and moves it on."""

    def __init__(self):
        self.now, self.pauses = 1000.0, []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.pauses.append(seconds)
        self.now += seconds


def test_retries_wait_longer_and_longer_and_end_with_the_deadline(fake, monkeypatch):
    """Of 6 seconds: 0.02, 0.04 ... 0.64, then 1 at a time while another fits in (5.26 in all)."""
    clock = Clock()
    monkeypatch.setattr(client_module, "time", clock)
    monkeypatch.setattr("random.uniform", lambda low, high: high)  # the longest pauses
    fake.script = [(Code.UNAVAILABLE, "busy")] * 100
    client = AvatarClient(fake.address, "anna", jpeg=False, timeout=6.0)
    with client as avatar, pytest.raises(AvatarError, match="is the server running"):
        avatar.render(landmarks(0.5))
    assert clock.pauses == pytest.approx([0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1, 1, 1, 1])
    assert len(fake.requests) == len(clock.pauses) + 1
    # Each call may take what is left of the deadline, not the whole again (gRPC rounds it up).
    remaining = 6.0 - np.cumsum([0.0, *clock.pauses])
    assert (np.array(fake.seconds_left) <= remaining + 0.2).all()


def test_no_server_is_said_so():
    said = r"anna at localhost:1: UNAVAILABLE.*is the server running"
    client = AvatarClient("localhost:1", "anna", timeout=0.3)
    with client as avatar, pytest.raises(AvatarError, match=said) as error:
        avatar.card()
    assert error.value.code == Code.UNAVAILABLE


def test_a_slow_server_meets_the_deadline(fake):
    fake.delay = lambda request: 2.0
    client = AvatarClient(fake.address, "anna", jpeg=False, timeout=0.2)
    with client as avatar, pytest.raises(AvatarError, match="no answer within 0.2 s") as error:
        avatar.render(landmarks(0.5))
    assert error.value.code == Code.DEADLINE_EXCEEDED


def test_frames_come_in_order_whatever_order_the_answers_come_in(fake, avatar):
    def delay(request):  # the earlier, the slower
        return 0.1 if tf.make_ndarray(request.inputs["landmarks"])[0, 0, 0] < 0.3 else 0.0

    fake.delay = delay
    x = np.linspace(0, 1, 24)
    assert [frame[0, 0, 0] for frame in avatar.stream(landmarks(v)[0] for v in x)] == [
        int(v * 255) for v in np.float32(x)
    ]
    clip = np.concatenate([landmarks(value) for value in x])
    fake.requests.clear()
    assert avatar.render(clip)[:, 0, 0, 0].tolist() == [int(v * 255) for v in np.float32(x)]
    assert [r.inputs["landmarks"].tensor_shape.dim[0].size for r in fake.requests] == [4] * 6


def test_several_requests_are_in_flight_and_not_more_is_read_than_needed(fake):
    at_once, most, lock = [0], [0], threading.Lock()

    def delay(request):
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        time.sleep(0.05)
        with lock:
            at_once[0] -= 1
        return 0.0

    fake.delay = delay
    taken = []

    def webcam():
        while True:  # endless
            taken.append(1)
            yield landmarks(0.5)[0]

    with AvatarClient(fake.address, "anna", jpeg=False, in_flight=3) as avatar:
        stream = avatar.stream(webcam())
        for _ in range(6):
            next(stream)
        stream.close()
    assert 2 <= most[0] <= 3 and len(taken) <= 6 + 3


def test_an_error_in_the_stream_reaches_the_caller_after_the_good_frames(fake, avatar):
    def points():
        yield landmarks(0.1)[0]
        yield landmarks(np.nan)[0]

    stream = avatar.stream(points())
    with pytest.raises(InputError, match="not finite"):
        list(stream)


def test_bad_landmarks_are_refused_before_anything_is_sent(fake, avatar):
    bad = landmarks(0.5, rows=3)
    bad[2, 0, 0] = np.inf
    for wrong, message in (
        (bad, "frame 2"),
        (np.zeros([3, 5, 2]), r"\[T, 68, 2\]"),
        (bad[:0], "at least one"),
    ):
        with pytest.raises(InputError, match=message):
            avatar.render(wrong)
    assert fake.requests == []


def test_a_row_the_server_could_not_use_is_an_error(fake, avatar):
    fake.ok = False
    with pytest.raises(AvatarError, match="row 0"):
        avatar.render(landmarks(0.5))


def test_an_answer_that_cannot_be_read_is_an_error(fake, avatar):
    def cut_off(response):
        response.outputs["frames"].tensor_content = b"short"

    def leave_out(response):
        del response.outputs["ok"]

    for damage, message in ((cut_off, "expected 12 bytes, got 5"), (leave_out, "type 0")):
        fake.damage = damage
        with pytest.raises(AvatarError, match=f"the answer cannot be read: .*{message}") as error:
            avatar.render(landmarks(0.5))
        assert error.value.code == Code.INTERNAL


def test_a_closed_client_says_so(fake):
    avatar = AvatarClient(fake.address, "anna")
    avatar.close()
    with pytest.raises(AvatarError, match="closed"):
        avatar.card()


def test_a_response_over_grpcs_default_of_4_mb_is_received(fake):
    fake.size = 512
    with AvatarClient(fake.address, "anna", jpeg=False, rows_per_request=8) as avatar:
        frames = avatar.render(landmarks(0.5, rows=8))
    assert frames.nbytes > 4 << 20 and len(fake.requests) == 1
    assert (frames == 127).all()


def test_label_and_version_exclude_each_other():
    with pytest.raises(InputError, match="not both"):
        AvatarClient("localhost:1", "anna", label="stable", version=3)
