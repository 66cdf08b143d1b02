"""The loop with plain functions as steps: it knows nothing of networks,
so neither does its test.
"""

import itertools
import os
import signal

import pytest

from tf_talkinghead.errors import TalkingHeadError
from tf_talkinghead.training.loop import Loop, NonFiniteError


class Recorder:
    def __init__(self):
        self.saved, self.evaluated, self.summaries, self.seen = [], [], [], []

    def step(self, batch, number):
        self.seen.append((batch, number))
        return {"loss": float(number + 1)}

    def save(self, step, scores):
        self.saved.append((step, scores))
        return f"step-{step}"

    def evaluate(self, step):
        self.evaluated.append(step)
        return {"ssim": 0.5}

    def summarise(self, step, values):
        self.summaries.append((step, values))


def loop(recorder, **changes):
    settings = {
        "step": recorder.step,
        "batches": itertools.count(),
        "steps": 10,
        "save": recorder.save,
        "checkpoint_every": 4,
        "evaluate": recorder.evaluate,
        "evaluate_every": 5,
        "summarise": recorder.summarise,
        "summary_every": 2,
        "progress": False,
    }
    return Loop(**{**settings, **changes})


def test_when_things_happen():
    recorder = Recorder()
    result = loop(recorder).run()
    assert [number for _, number in recorder.seen] == list(range(10))
    assert recorder.evaluated == [5, 10]
    assert recorder.saved == [(4, None), (5, {"ssim": 0.5}), (8, None), (10, {"ssim": 0.5})]
    assert [step for step, _ in recorder.summaries] == [2, 4, 6, 8, 10]
    assert recorder.summaries[1][1]["loss"] == 3.5  # the mean of updates 3 and 4
    assert 0 <= recorder.summaries[1][1]["data_wait_share"] <= 1
    assert result.step == 10 and not result.interrupted


def test_a_resumed_run_goes_on_counting_and_ends_at_the_same_step():
    recorder = Recorder()
    loop(recorder, start=7, batches=iter(range(7, 100))).run()
    assert recorder.seen == [(7, 7), (8, 8), (9, 9)]
    assert loop(recorder, start=10).run().step == 10


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_non_finite_names_term_step_and_last_good(bad):
    recorder = Recorder()

    def step(batch, number):
        return {"pixel": 1.0, "match": bad if number == 6 else 0.0}

    with pytest.raises(
        NonFiniteError, match=r"match is (nan|inf) at step 7; last good checkpoint: step-5"
    ):
        loop(recorder, step=step).run()
    assert recorder.saved[-1][0] == 5


def test_non_finite_is_never_saved():
    recorder = Recorder()
    with pytest.raises(NonFiniteError, match="step 4"):
        loop(recorder, step=lambda batch, number: {"x": float("nan") if number == 3 else 0.0}).run()
    assert recorder.saved == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_step_saves_and_returns(number):
    recorder = Recorder()

    def step(batch, at):
        if at == 2:
            os.kill(os.getpid(), number)
        return recorder.step(batch, at)

    before = signal.getsignal(number)
    result = loop(recorder, step=step).run()
    assert result.interrupted and result.step == 3 and recorder.saved == [(3, None)]
    assert signal.getsignal(number) is before


def test_early_stopping():
    recorder = Recorder()
    result = loop(recorder, evaluate=lambda step: {"ssim": 0.1, "stop": True}).run()
    assert result.step == 5 and recorder.saved[-1] == (5, {"ssim": 0.1})


def test_data_that_ends_too_soon():
    with pytest.raises(TalkingHeadError, match="ended at step 3 of 10"):
        loop(Recorder(), batches=range(3)).run()


def test_processes_end_at_the_same_step_whichever_was_asked():
    """Two loops in step: what one votes, both read one step later."""
    votes = []  # of each step: [first's, second's]

    def ballot(process, number, asked):
        while len(votes) <= number:
            votes.append([False, False])
        votes[number][process] = asked

    def run(process, signalled_at):
        recorder, steps = Recorder(), itertools.count()

        def step(batch, number):
            if number == signalled_at:
                os.kill(os.getpid(), signal.SIGTERM)
            return recorder.step(batch, number)

        def agree(asked):
            number = next(steps)
            ballot(process, number, asked)
            return Vote(number)

        return loop(recorder, step=step, agree=agree, evaluate=None).run(), recorder

    class Vote:
        """Read only once the other process has voted, as a reduction would be."""

        def __init__(self, number):
            self.number = number

        def __bool__(self):
            return any(votes[self.number])

    (first, recorder), (second, other) = run(0, signalled_at=5), run(1, signalled_at=None)
    assert first.step == second.step == 7 and first.interrupted and second.interrupted
    assert recorder.saved[-1] == other.saved[-1] == (7, None)
