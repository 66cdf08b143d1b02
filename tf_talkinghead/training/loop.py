"""The training loop: steps, checks, summaries, evaluation, snapshots; independent of the model.

    Loop(step=..., batches=..., steps=8000, start=resumed_at, save=..., evaluate=...).run()

`step(batch, number)` does update `number` (from 0) and returns its terms, name -> scalar tensor.
After update `number` the run is "at step" number + 1: that is the number in snapshots, summaries
and messages.
"""

import math
import signal
import sys
import threading
import time
from dataclasses import dataclass

from tqdm import tqdm

from tf_talkinghead.errors import TalkingHeadError


class NonFiniteError(TalkingHeadError):
    """A loss term is NaN or infinite; the message names it, the step and the last good snapshot."""


@dataclass
class Result:
    """How a run ended: last step, whether by a signal, and the terms of the last summary."""

    step: int
    interrupted: bool
    terms: dict[str, float]


class Loop:
    """Runs updates `start` .. `steps` - 1.

    Args:
      step: `step(batch, number) -> {name: scalar}`.
      batches: an iterable, already at batch `start`.
      save: `save(step, scores)` writes a snapshot and returns its path; called every
        `checkpoint_every` steps, after each evaluation, at the end and on SIGTERM or SIGINT. None:
        nothing is saved.
      evaluate: `evaluate(step) -> {name: float}`, every `evaluate_every` steps and at the end. A
        truthy `stop` in the result ends the run (early stopping). None: never.
      summarise: `summarise(step, {name: float})` every `summary_every` steps, with means since the
        last call, `steps_per_second` and `data_wait_share`. None: never.
      agree: for several processes that run the same loop: `agree(asked)`, called after every step,
        returns whether any of them was asked to stop (a bool or a scalar tensor). A signal to one
        process must end all at the same step, or the others would wait in a reduction forever.
      last_good: name of the snapshot that the run starts from, for the error message.
      description, progress: text of the progress bar, and whether it is shown.
    """

    def __init__(
        self,
        *,
        step,
        batches,
        steps,
        start=0,
        save=None,
        checkpoint_every=0,
        evaluate=None,
        evaluate_every=0,
        summarise=None,
        summary_every=50,
        agree=None,
        last_good="none",
        description="training",
        progress=True,
    ):
        self.step, self.batches, self.steps, self.start = step, batches, steps, start
        self.save, self.checkpoint_every = save, checkpoint_every
        self.evaluate, self.evaluate_every = evaluate, evaluate_every
        self.summarise, self.summary_every = summarise, summary_every
        self.last_good = last_good
        self.description, self.progress = description, progress
        self.agree = agree
        self._asked = False  # a signal came to this process
        self._vote = False  # what the processes agreed on last
        self._stop = False  # a signal ends the run
        self._enough = False  # an evaluation ended the run
        # (step, terms) of the newest update: read one update late, so that no device waits.
        self._unchecked = None
        self._sums, self._count = {}, 0
        self._wait, self._since = 0.0, time.perf_counter()
        self._terms = {}

    def run(self):
        """Trains to `steps` or to a signal; returns a `Result`."""
        at = self.start
        iterator = iter(self.batches)
        bar = tqdm(
            total=self.steps,
            initial=self.start,
            desc=self.description,
            unit="step",
            disable=not self.progress,
            dynamic_ncols=True,
            mininterval=0.5 if sys.stderr.isatty() else 30.0,
        )
        with _Signals(self._ask_to_stop), bar:
            while at < self.steps and not self._stop and not self._enough:
                terms = self.step(self._next(iterator, at), at)
                self._check()
                at += 1
                self._unchecked = (at, terms)
                bar.update()
                if at % self.summary_every == 0:
                    self._summary(at, bar)
                self._stop = self._asked_to_stop()
                self._evaluate_and_save(at)
        self._check()
        return Result(at, self._stop and at < self.steps, self._terms)

    def _next(self, iterator, at):
        began = time.perf_counter()
        try:
            batch = next(iterator)
        except StopIteration:
            raise TalkingHeadError(f"the data ended at step {at} of {self.steps}") from None
        self._wait += time.perf_counter() - began
        return batch

    def _check(self):
        """Reads the newest update's terms; a non-finite one ends the run before a snapshot."""
        if self._unchecked is None:
            return
        at, terms = self._unchecked
        self._unchecked = None
        for name, value in terms.items():
            value = float(value)
            if not math.isfinite(value):
                raise NonFiniteError(
                    f"{name} is {value} at step {at}; last good checkpoint: {self.last_good}"
                )
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1

    def _summary(self, at, bar):
        self._check()
        seconds = time.perf_counter() - self._since
        self._terms = {name: value / self._count for name, value in self._sums.items()}
        self._terms.update(
            steps_per_second=self._count / seconds, data_wait_share=self._wait / seconds
        )
        self._sums, self._count, self._wait, self._since = {}, 0, 0.0, time.perf_counter()
        shown = ("loss", "data_wait_share")
        bar.set_postfix({name: f"{self._terms[name]:.3g}" for name in shown if name in self._terms})
        if self.summarise:
            self.summarise(at, self._terms)

    def _evaluate_and_save(self, at):
        last = at == self.steps or self._stop
        scores = None
        paused = time.perf_counter()
        if self.evaluate and (at == self.steps or _due(at, self.evaluate_every)):
            self._check()
            scores = self.evaluate(at)
            if scores and scores.pop("stop", False):
                self._enough = last = True
        if self.save and (last or scores is not None or _due(at, self.checkpoint_every)):
            self._check()
            self.last_good = self.save(at, scores)
        # Time of evaluations and snapshots does not count in `steps_per_second`.
        self._since += time.perf_counter() - paused

    def _ask_to_stop(self, number, _frame):
        tqdm.write(f"{signal.Signals(number).name}: finishing the step, saving and leaving")
        self._asked = True

    def _asked_to_stop(self):
        """Whether the run ends here, the same in every process."""
        if self.agree is None:
            return self._asked
        # The vote is read one step late, like the terms, so that no device waits.
        before, self._vote = self._vote, self.agree(self._asked)
        return bool(before)


def _due(step, every):
    """Whether `step` is a multiple of `every`; never for `every` = 0."""
    return bool(every) and step % every == 0


class _Signals:
    """A block in which SIGTERM and SIGINT call `handler`; no effect outside the main thread."""

    def __init__(self, handler):
        self.handler, self.before = handler, {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            self.before = {
                number: signal.signal(number, self.handler)
                for number in (signal.SIGTERM, signal.SIGINT)
            }

    def __exit__(self, *_):
        for number, handler in self.before.items():
            signal.signal(number, handler)
