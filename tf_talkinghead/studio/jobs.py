"""Jobs, work that takes a while: progress, time left and result, kept until the studio ends.

    job = jobs.submit("film", person, title, work)    # work(job) -> result; in a thread
    job.stage("rendering", total=250); job.step(); job.to_dict()

Jobs of one kind run one after another, so that live driving keeps a share of the processor.
"""

import concurrent.futures
import itertools
import secrets
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator

from tf_talkinghead.errors import InputError, TalkingHeadError
from tf_talkinghead.studio.words import plain

_KEPT = 50  # finished jobs that are remembered
_WAITING = 8  # jobs of one kind that may wait
_SURE = 1.5  # seconds of a stage, after which its own speed gives the time left


class CancelledError(TalkingHeadError):
    """The visitor cancelled the job."""


class Job:
    """One piece of work and what is known of it."""

    def __init__(self, kind: str, person: str, title: str, expected: float | None = None):
        self.id, self.kind, self.person, self.title = secrets.token_hex(8), kind, person, title
        self.state, self.result, self.error = "waiting", None, None
        self.names = {}  # path on this machine -> the visitor's name, for errors
        self._stage, self._done, self._total = "waiting for its turn", 0, None
        self._expected, self._began, self._stage_began = expected, None, time.monotonic()
        self._cancelled = threading.Event()

    def stage(self, name: str, total: int | None = None) -> None:
        """Begins a stage of `total` steps, where their number is known."""
        self.check()
        self._stage, self._done, self._total = name, 0, total
        self._stage_began = time.monotonic()

    def step(self) -> None:
        """One step of the stage is done.

        Raises:
          CancelledError: the job was cancelled.
        """
        self.check()
        self._done += 1

    def watched(self, name: str, items: Iterable, total: int | None = None) -> Iterator:
        """The items, each a step of the stage `name`."""
        self.stage(name, total)
        for item in items:
            self.step()
            yield item

    def check(self) -> None:
        """Raises CancelledError where the job was cancelled."""
        if self._cancelled.is_set():
            raise CancelledError("cancelled")

    def cancel(self) -> None:
        """Ends the job at its next step."""
        self._cancelled.set()

    @property
    def running(self) -> bool:
        """Whether it waits or runs."""
        return self.state in ("waiting", "running")

    def seconds_left(self) -> float | None:
        """Estimated seconds, by the stage's own speed or else by `expected`; None if unknown."""
        if self.state != "running":
            return None
        elapsed = time.monotonic() - self._stage_began
        if self._total and self._done and elapsed > _SURE:
            return elapsed * max(self._total - self._done, 0) / self._done
        if self._expected is not None:
            return max(self._expected - (time.monotonic() - self._began), 1.0)
        return None

    def to_dict(self) -> dict:
        """For the page."""
        left = self.seconds_left()
        share = self._done / self._total if self._total else None
        if share is None and self._expected and self._began and self.state == "running":
            share = min((time.monotonic() - self._began) / self._expected, 0.95)
        return {
            "id": self.id,
            "kind": self.kind,
            "person": self.person,
            "title": self.title,
            "state": self.state,
            "stage": self._stage if self.running else None,
            "share": None if share is None else round(share, 3),
            "seconds_left": None if left is None else round(left, 1),
            "result": self.result,
            "error": self.error,
        }

    def run(self, work) -> None:
        """Does the work in this thread, and notes how it ended."""
        self.state, self._began = "running", time.monotonic()
        try:
            self.check()
            self.result = work(self)
            self.state = "done"
        except CancelledError:
            self.state, self.error = "cancelled", "cancelled"
        except TalkingHeadError as error:
            self.state, self.error = "failed", plain(error, self.names)
        except Exception:
            traceback.print_exc()  # a bug of the studio
            self.state, self.error = "failed", "the studio failed; its terminal shows the error"


class Jobs:
    """All jobs of a studio, one thread for each kind."""

    def __init__(self):
        self._jobs: dict[str, Job] = {}
        self._threads: dict[str, concurrent.futures.ThreadPoolExecutor] = {}
        self._lock = threading.Lock()

    def submit(
        self,
        kind: str,
        person: str,
        title: str,
        work: Callable[[Job], dict],
        expected: float | None = None,
        names: dict | None = None,
    ) -> Job:
        """Queues `work(job)`, whose result the page gets.

        Args:
          kind: "film", "avatar" and so on; jobs of one kind run one after another.
          person: the avatar that it is about.
          title: what the page calls it.
          work: function of the Job that returns its result, ready for JSON.
          expected: seconds that such work took before; None if unknown.
          names: path on this machine -> the visitor's name of it, for errors.

        Raises:
          InputError: too many wait already.
        """
        job = Job(kind, person, title, expected)
        job.names.update(names or {})
        with self._lock:
            waiting = [each for each in self._jobs.values() if each.kind == kind and each.running]
            if len(waiting) >= _WAITING:
                raise InputError(f"{len(waiting)} jobs wait already: try again when one is done")
            finished = [each.id for each in self._jobs.values() if not each.running]
            for old in finished[: max(len(finished) - _KEPT, 0)]:
                del self._jobs[old]
            self._jobs[job.id] = job
            if kind not in self._threads:
                self._threads[kind] = concurrent.futures.ThreadPoolExecutor(1, f"studio-{kind}")
            self._threads[kind].submit(job.run, work)
        return job

    def get(self, name: str) -> Job:
        """The job of that id; InputError where there is none."""
        job = self._jobs.get(name)
        if job is None:
            raise InputError("there is no such job; it may be of an earlier run of the studio")
        return job

    def all(self) -> list[Job]:
        """Newest first."""
        return list(itertools.islice(reversed(self._jobs.values()), _KEPT))

    def cancel_of(self, person: str) -> None:
        """Cancels the waiting and running jobs of one person."""
        for job in self.all():
            if job.person == person and job.running:
                job.cancel()

    def close(self) -> None:
        """Cancels everything and waits for the threads."""
        for job in self.all():
            job.cancel()
        for threads in self._threads.values():
            threads.shutdown(wait=True, cancel_futures=True)
