"""Batch scheduler: combines requests of different callers, as TensorFlow Serving's shared one.

Each loaded version has one queue per (signature, outputs). A queue is a list of batches of which
the last is open; a batch is run by one of a few shared threads when it is full, or when its oldest
request has waited `batch_timeout_micros`. Requests whose caller has gone or whose deadline has
passed are dropped unrun.

Difference: if no other call is in progress in the whole server, a request runs immediately instead
of waiting for the batch timeout.
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
    """A request that waits for its results.

    Args:
      inputs: alias -> array [rows, ...].
      deadline: time.monotonic() seconds, or None.
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
        """Marks the task as cancelled by its caller; it is dropped if it has not run."""
        self._cancelled = True
        self._done.set()

    @property
    def dropped(self):
        """Whether the caller has gone or the deadline has passed."""
        return self._cancelled or (self.deadline is not None and time.monotonic() > self.deadline)

    def finish(self, result):
        self._result = result
        self._done.set()

    def fail(self, error):
        self._error = error
        self._done.set()

    def wait(self):
        """Waits for the outputs, {alias: array of `rows` rows}; raises the task's StatusError."""
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
    """Queue of the waiting batches of one (version, signature, outputs).

    Args:
      run: function of inputs (alias -> array) that returns outputs (alias -> array).
      options: BatchingOptions.
    """

    def __init__(self, run, options):
        self.run = run
        self.options = options
        self.batches = collections.deque([[]])  # lists of tasks; the last one is open

    def open_rows(self):
        return sum(task.rows for task in self.batches[-1])

    def fits(self, rows):
        """Whether `rows` more rows fit into the open batch."""
        return self.open_rows() + rows <= self.options.max_batch_size

    def full(self, rows):
        """Whether `rows` fit neither into the open batch nor into a further batch."""
        return not self.fits(rows) and len(self.batches) >= self.options.max_enqueued_batches

    def add(self, task):
        if not self.fits(task.rows):
            self.batches.append([])
        self.batches[-1].append(task)

    def due_at(self):
        """Time at which the first batch may run, time.monotonic() seconds; None if it is empty."""
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
    """Runs the batches of all queues, in round-robin order, on a pool of threads.

    Args:
      threads: number of threads.
      on_batch: called with the queueing time in seconds of every request that leaves its queue.
      under_way: function that returns the number of calls in progress in the server, the caller's
        included; None: not known, and a lone request waits for the batch timeout too.
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
        """Removes the queues whose key satisfies `belongs(key)`; they must be empty."""
        with self._ready:
            for key in [key for key in self._queues if belongs(key)]:
                del self._queues[key]
                self._order.remove(key)

    def close(self):
        """Runs the queued batches, then stops the threads."""
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
    """The smallest batch size in `allowed` that holds `rows`; `rows` itself if there is none."""
    return next((size for size in allowed if size >= rows), rows)


def _run_batch(queue, batch, on_batch):
    """Runs the tasks of `batch` together and passes each its rows; an error is passed to all."""
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
    except Exception as error:  # any error must reach the waiting callers
        for task in tasks:
            task.fail(StatusError(Code.INTERNAL, f"{type(error).__name__}: {error}"))
