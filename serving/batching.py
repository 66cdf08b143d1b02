"""Requests of different callers in one run of the model, as TensorFlow Serving's shared batch
scheduler does it.

Each loaded version has one queue per (signature, outputs). A queue is a list of batches of which
the last is open; a batch is run by one of a few shared threads when it is full, or when its oldest
request has waited `batch_timeout_micros`. Requests whose caller has gone or whose deadline has
passed are dropped unrun.

One thing differs: where no other call is under way in the whole server, there is nobody to wait
for, and a lone caller's request runs at once.
"""

import collections
import os
import threading
import time

import numpy as np

from serving.servables import rows_of
from serving.status import (
    Code,
    StatusError,
    deadline_exceeded,
    failed_precondition,
    invalid_argument,
    unavailable,
)


class Task:
    """Rows of one request waiting for their results.

    `deadline`: time.monotonic() seconds, or None.
    """

    def __init__(self, inputs, deadline=None):
        self.inputs = inputs
        self.rows = rows_of(inputs)
        self.deadline = deadline
        self.queued_at = time.monotonic()
        self._cancelled = False
        self._done = threading.Event()
        self._result = None
        self._error = None

    def cancel(self):
        """The caller has gone: drop the task if it has not run."""
        self._cancelled = True
        self._done.set()

    @property
    def dropped(self):
        return self._cancelled or (self.deadline is not None and time.monotonic() > self.deadline)

    def finish(self, result):
        self._result = result
        self._done.set()

    def fail(self, error):
        self._error = error
        self._done.set()

    def wait(self):
        """The outputs (alias -> array of `rows` rows), or StatusError."""
        left = None if self.deadline is None else max(0.0, self.deadline - time.monotonic())
        finished = self._done.wait(left)
        if self._error is not None:
            raise self._error
        if self._cancelled:
            raise StatusError(Code.CANCELLED, "the caller has cancelled")
        if not finished or self._result is None:
            raise deadline_exceeded(
                "the deadline passed while the request waited in the batch queue"
            )
        return self._result


class Queue:
    """The waiting batches of one (version, signature, outputs).

    `run(inputs) -> outputs`, alias -> array.
    """

    def __init__(self, run, options):
        self.run = run
        self.options = options
        self.batches = collections.deque([[]])  # lists of tasks; the last one is open

    def open_rows(self):
        return sum(task.rows for task in self.batches[-1])

    def fits(self, rows):
        """Whether the open batch still takes `rows`."""
        return self.open_rows() + rows <= self.options.max_batch_size

    def full(self, rows):
        """Whether there is no place for `rows`: not in the open batch, and no further batch is
        allowed.
        """
        return not self.fits(rows) and len(self.batches) >= self.options.max_enqueued_batches

    def add(self, task):
        if not self.fits(task.rows):
            self.batches.append([])
        self.batches[-1].append(task)

    def due_at(self):
        """When the foremost batch may run, in time.monotonic() seconds.

        None where nothing waits.
        """
        if len(self.batches) > 1 or self.open_rows() >= self.options.max_batch_size:
            return 0.0
        if not self.batches[-1]:
            return None
        return self.batches[-1][0].queued_at + self.options.timeout_micros / 1e6

    def take(self):
        batch = self.batches.popleft()
        if not self.batches:
            self.batches.append([])
        return batch


class BatchScheduler:
    """Runs the batches of many queues on `threads` threads, the queues in turn.

    `on_batch(queueing_seconds)` is told of every request that leaves its queue. `under_way()` is
    the number of calls in the server, this one included; unknown by default.
    """

    def __init__(self, threads=None, on_batch=None, under_way=None):
        self._under_way = under_way or (lambda: None)
        self._queues = {}
        self._order = collections.deque()
        self._ready = threading.Condition()
        self._closed = False
        self._on_batch = on_batch or (lambda seconds: None)
        self._threads = [
            threading.Thread(target=self._work, name=f"batch-{index}", daemon=True)
            for index in range(threads or os.cpu_count() or 1)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, key, run, options, task):
        """Queues `task` under `key`.

        Raises:
          StatusError: INVALID_ARGUMENT for more rows than `max_batch_size`, UNAVAILABLE where the
            queue is full.
        """
        if task.rows > options.max_batch_size:
            raise invalid_argument(
                f"Task size {task.rows} is larger than maximum input batch size "
                f"{options.max_batch_size}"
            )
        with self._ready:
            if self._closed:
                raise unavailable("the server is shutting down")
            if key not in self._queues:
                self._queues[key] = Queue(run, options)
                self._order.append(key)
            queue = self._queues[key]
            if queue.full(task.rows):
                raise unavailable(
                    "The batch scheduling queue to which this task was submitted is full"
                )
            queue.add(task)
            self._ready.notify()

    def remove(self, belongs):
        """Forgets the queues whose key `belongs(key)`; nothing may be waiting in them."""
        with self._ready:
            for key in [key for key in self._queues if belongs(key)]:
                del self._queues[key]
                self._order.remove(key)

    def close(self):
        """Runs what is queued, then ends the threads."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self):
        while True:
            with self._ready:
                queue = self._next()
                if queue is None:
                    return
                batch = queue.take()
                self._ready.notify()
            _run_batch(queue, batch, self._on_batch)

    def _next(self):
        """Waits for a queue whose foremost batch is due; None when closed and empty."""
        while True:
            now = time.monotonic()
            soonest = None
            for _ in range(len(self._order)):
                key = self._order[0]
                self._order.rotate(-1)
                queue = self._queues[key]
                due = queue.due_at()
                if due is not None and self._under_way() == len(queue.batches[0]):
                    due = 0.0
                if due is not None and (due <= now or self._closed):
                    return queue
                if due is not None:
                    soonest = due if soonest is None else min(soonest, due)
            if self._closed:
                return None
            self._ready.wait(None if soonest is None else soonest - now)


def padded_rows(rows, allowed):
    """The smallest allowed batch size that holds `rows`; `rows` itself where none is prescribed."""
    return next((size for size in allowed if size >= rows), rows)


def _run_batch(queue, batch, on_batch):
    """Runs the tasks of `batch` together and gives each its rows.

    An error reaches every one of them.
    """
    tasks = [task for task in batch if not task.dropped]
    now = time.monotonic()
    for task in tasks:
        on_batch(now - task.queued_at)
    if not tasks:
        return
    try:
        rows = sum(task.rows for task in tasks)
        padding = padded_rows(rows, queue.options.allowed_batch_sizes) - rows
        inputs = {}
        for alias in tasks[0].inputs:
            values = [task.inputs[alias] for task in tasks]
            values += [values[0][:1]] * padding
            inputs[alias] = np.concatenate(values) if len(values) > 1 else values[0]
        outputs = queue.run(inputs)
        for alias, value in outputs.items():
            if np.ndim(value) == 0 or len(value) != rows + padding:
                wanted = rows + padding
                raise failed_precondition(
                    f"Batched output tensor {alias} does not have the batch's {wanted} rows"
                )
        start = 0
        for task in tasks:
            task.finish(
                {alias: value[start : start + task.rows] for alias, value in outputs.items()}
            )
            start += task.rows
    except StatusError as error:
        for task in tasks:
            task.fail(error)
    except Exception as error:  # whatever it is, no caller may be left waiting
        for task in tasks:
            task.fail(StatusError(Code.INTERNAL, f"{type(error).__name__}: {error}"))
