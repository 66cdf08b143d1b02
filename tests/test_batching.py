"""Requests merged, padded, refused and dropped by the batch scheduler."""

import threading
import time

import numpy as np
import pytest
from google.protobuf import text_format

from serving.batching import BatchScheduler, Task, padded_rows
from serving.batching_options import BatchingOptions, options_from_proto
from serving.config_protos import BatchingParameters
from serving.status import Code, StatusError
from tf_talkinghead.errors import InputError


class Model:
    """Doubles its input; can be held shut, and remembers the batches it saw."""

    def __init__(self):
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()
        self.seen = []

    def run(self, inputs):
        self.seen.append(inputs["x"].tolist())
        self.entered.set()
        assert self.open.wait(20)
        return {"y": inputs["x"] * 2}

    def shut(self):
        self.open.clear()
        self.entered.clear()


def rows(*values):
    return {"x": np.float32(values)}


@pytest.fixture
def scheduler():
    made = BatchScheduler(threads=1)
    yield made
    made.close()


@pytest.fixture
def busy(scheduler):
    """(scheduler, model) whose only thread is held inside the model, so that what is submitted now
    must wait.
    """
    model = Model()
    model.shut()
    first = Task(rows(0))
    scheduler.submit("q", model.run, BatchingOptions(), first)
    assert model.entered.wait(20)
    yield scheduler, model
    model.open.set()


def refused(code):
    return pytest.raises(StatusError, check=lambda error: error.code == code)


def test_requests_that_wait_together_run_together_and_get_their_own_rows(busy):
    scheduler, model = busy
    options = BatchingOptions(max_batch_size=8)
    tasks = [Task(rows(1, 2)), Task(rows(3)), Task(rows(4, 5, 6))]
    for task in tasks:
        scheduler.submit("other", model.run, options, task)
    model.open.set()
    assert [task.wait()["y"].tolist() for task in tasks] == [[2, 4], [6], [8, 10, 12]]
    assert model.seen == [[0], [1, 2, 3, 4, 5, 6]]


def test_a_batch_never_exceeds_its_size_and_keeps_requests_whole(busy):
    scheduler, model = busy
    options = BatchingOptions(max_batch_size=4)
    tasks = [Task(rows(1, 1, 1)), Task(rows(2, 2)), Task(rows(3, 3)), Task(rows(4))]
    for task in tasks:
        scheduler.submit("other", model.run, options, task)
    model.open.set()
    for task in tasks:
        task.wait()
    assert model.seen[1:] == [[1, 1, 1], [2, 2, 3, 3], [4]]


def test_batches_are_padded_to_an_allowed_size_with_a_row_of_their_own(busy):
    scheduler, model = busy
    options = BatchingOptions(4, allowed_batch_sizes=(1, 4))
    tasks = [Task(rows(5)), Task(rows(6))]
    for task in tasks:
        scheduler.submit("other", model.run, options, task)
    model.open.set()
    assert [task.wait()["y"].tolist() for task in tasks] == [[10], [12]]
    assert model.seen[1] == [5, 6, 5, 5]
    assert [padded_rows(n, (1, 2, 8)) for n in (1, 2, 3, 8)] == [1, 2, 8, 8] and padded_rows(
        3, ()
    ) == 3


def test_a_full_queue_is_unavailable(busy):
    scheduler, model = busy
    options = BatchingOptions(2, max_enqueued_batches=2)
    for _ in range(4):
        scheduler.submit("other", model.run, options, Task(rows(1)))
    with refused(Code.UNAVAILABLE):
        scheduler.submit("other", model.run, options, Task(rows(1)))
    scheduler.submit("a queue of its own", model.run, options, Task(rows(1)))


def test_more_rows_than_a_batch_are_refused(busy):
    scheduler, model = busy
    with refused(Code.INVALID_ARGUMENT):
        scheduler.submit("other", model.run, BatchingOptions(2), Task(rows(1, 2, 3)))


def test_cancelled_and_late_requests_are_not_run(busy):
    scheduler, model = busy
    gone, late, good = Task(rows(1)), Task(rows(2), deadline=time.monotonic() + 0.01), Task(rows(3))
    for task in (gone, late, good):
        scheduler.submit("other", model.run, BatchingOptions(), task)
    gone.cancel()
    with refused(Code.DEADLINE_EXCEEDED):
        late.wait()
    model.open.set()
    assert good.wait()["y"].tolist() == [6]
    assert model.seen == [[0], [3]]
    with refused(Code.CANCELLED):
        gone.wait()


def test_an_error_reaches_everyone_in_the_batch_and_nobody_after(scheduler):
    def fail(inputs):
        raise StatusError(Code.ABORTED, "no")

    def forget(inputs):
        return {"y": inputs["x"][:1]}

    for run, code in (
        (fail, Code.ABORTED),
        (forget, Code.FAILED_PRECONDITION),
        (lambda inputs: 1 / 0, Code.INTERNAL),
    ):
        task = Task(rows(1, 2))
        scheduler.submit(run, run, BatchingOptions(), task)
        with refused(code):
            task.wait()
    task = Task(rows(1))
    scheduler.submit("fine", Model().run, BatchingOptions(), task)
    assert task.wait()["y"].tolist() == [2]


def test_queues_take_turns(busy):
    scheduler, model = busy
    options = BatchingOptions(1)
    tasks = [Task(rows(1)) for _ in range(4)]
    for task in tasks:
        scheduler.submit("long", model.run, options, task)
    other = Task(rows(9))
    scheduler.submit("short", model.run, options, other)
    model.open.set()
    for task in (*tasks, other):
        task.wait()
    assert model.seen.index([9]) <= 2


def test_an_unfilled_batch_waits_for_company_and_a_full_one_does_not(scheduler):
    model = Model()
    options = BatchingOptions(2, timeout_micros=3_600_000_000)
    first, second = Task(rows(1)), Task(rows(2))
    scheduler.submit("q", model.run, options, first)
    time.sleep(0.05)
    assert model.seen == []
    scheduler.submit("q", model.run, options, second)
    assert first.wait()["y"].tolist() == [2] and model.seen == [[1, 2]]


def test_a_lone_call_does_not_wait_for_company():
    under_way = [2]
    scheduler, model = BatchScheduler(threads=1, under_way=lambda: under_way[0]), Model()
    options = BatchingOptions(8, timeout_micros=3_600_000_000)
    accompanied, alone = Task(rows(1)), Task(rows(2), deadline=time.monotonic() + 20)
    scheduler.submit("q", model.run, options, accompanied)
    time.sleep(0.05)
    assert model.seen == []  # somebody else is under way and may join
    scheduler.submit("q", model.run, options, alone)  # now both calls there are wait in this batch
    assert alone.wait()["y"].tolist() == [4] and model.seen == [[1, 2]]
    scheduler.close()


def test_closing_runs_what_is_queued_and_refuses_the_rest():
    scheduler, model = BatchScheduler(threads=1), Model()
    task = Task(rows(1))
    scheduler.submit("q", model.run, BatchingOptions(8, timeout_micros=3_600_000_000), task)
    scheduler.close()
    assert task.wait()["y"].tolist() == [2]
    with refused(Code.UNAVAILABLE):
        scheduler.submit("q", model.run, BatchingOptions(), Task(rows(1)))


def options(text):
    return options_from_proto(text_format.Parse(text, BatchingParameters()))


def test_options_come_from_the_file_with_tensorflow_servings_defaults():
    assert options("") == BatchingOptions(1000, 0, 10, ())
    made = options(
        "max_batch_size { value: 4 } batch_timeout_micros { value: 7 } max_enqueued_batches { "
        "value: 3 }"
        " allowed_batch_sizes: 1 allowed_batch_sizes: 4"
    )
    assert made == BatchingOptions(4, 7, 3, (1, 4))


@pytest.mark.parametrize(
    "text",
    [
        "max_batch_size { value: 4 } allowed_batch_sizes: 1 allowed_batch_sizes: 8",
        "max_batch_size { value: 4 } allowed_batch_sizes: 4 allowed_batch_sizes: 2",
        "max_batch_size { value: 0 }",
        "batch_timeout_micros { value: -1 }",
        "enable_large_batch_splitting { value: true }",
    ],
)
def test_impossible_options_are_refused(text):
    with pytest.raises(InputError):
        options(text)
