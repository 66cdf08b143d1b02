"""Jobs: their progress, time left, cancelling and errors; the words of errors on the page."""

import threading

import pytest

from tests.script_runner import run_script
from tests.serving_fixtures import wait_until
from tf_talkinghead.errors import InputError
from tf_talkinghead.studio.jobs import Job, Jobs
from tf_talkinghead.studio.words import plain


@pytest.fixture
def jobs():
    jobs = Jobs()
    yield jobs
    jobs.close()


def test_a_job_tells_its_share_and_result(jobs):
    at, go = threading.Semaphore(0), threading.Semaphore(0)

    def work(job):
        for _ in job.watched("counting", range(4), 4):
            at.release()
            assert go.acquire(timeout=20)
        return {"answer": 42}

    job = jobs.submit("film", "ann", "me.mp4", work)
    for done in (1, 2, 3, 4):
        assert at.acquire(timeout=20)
        seen = job.to_dict()
        assert (seen["stage"], seen["share"]) == ("counting", done / 4)
        go.release()
    wait_until(lambda: not job.running)
    seen = job.to_dict()
    assert (seen["state"], seen["result"], seen["stage"]) == ("done", {"answer": 42}, None)


def test_the_time_left_follows_the_pace(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("tf_talkinghead.studio.jobs.time.monotonic", lambda: now[0])
    job = Job("film", "ann", "me.mp4")
    job.state = "running"
    job.stage("rendering", 10)
    assert job.seconds_left() is None
    for _ in range(4):
        now[0] += 2.0
        job.step()
    assert job.seconds_left() == pytest.approx(12.0)  # 6 more at 2 s


def test_a_cancelled_job_ends_at_its_next_step(jobs):
    begun, ended = threading.Event(), []

    def work(job):
        try:
            begun.set()
            while True:
                job.step()
        finally:
            ended.append(True)

    running = jobs.submit("film", "ann", "a", work)
    waiting = jobs.submit("film", "ann", "b", work)
    assert begun.wait(20)
    assert waiting.state == "waiting"
    jobs.cancel_of("bob")
    assert running.running
    jobs.cancel_of("ann")
    wait_until(lambda: not running.running and not waiting.running)
    assert (running.state, waiting.state, ended) == ("cancelled", "cancelled", [True])


def test_errors_are_words_and_faults_are_no_secrets(jobs, capsys):
    def refuse(job):
        raise InputError("/tmp/x/1.jpg: 2 faces; crop to one person, or say --force to take it")

    def fail(job):
        raise RuntimeError("/home/ann/secret")

    refused = jobs.submit("film", "ann", "a", refuse, names={"/tmp/x/1.jpg": "me.jpg"})
    failed = jobs.submit("film", "ann", "b", fail)
    wait_until(lambda: not refused.running and not failed.running)
    assert refused.error == "me.jpg: 2 faces; crop to one person"
    assert failed.error == "the studio failed; its terminal shows the error"
    assert "secret" in capsys.readouterr().err


def test_only_so_many_may_wait(jobs):
    go = threading.Event()
    for _ in range(8):
        jobs.submit("film", "ann", "a", lambda job: go.wait(20))
    with pytest.raises(InputError, match="8 jobs wait already"):
        jobs.submit("film", "ann", "a", lambda job: None)
    jobs.submit("recording", "ann", "a", lambda job: None)  # another kind has its own turn
    go.set()


def test_flags_are_not_advice_on_a_page():
    said = plain(InputError("--person='..': expected letters"))
    assert said == "person '..': expected letters"
    both = "a.jpg and b.jpg look like different people; remove the wrong ones, or say --force"
    assert plain(InputError(both)) == "a.jpg and b.jpg look like different people"
    assert plain(InputError("first\n  second")) == "first second"


REFUSALS = [
    (["--tls_cert=a.pem"], "--tls_cert and --tls_key go together"),
    (["--tls_cert=a.pem", "--tls_key=b.pem"], "--tls_cert=a.pem: no such file"),
    (["--token=short"], "--token: expected 16 characters or more"),
    (["here"], "unexpected argument 'here'"),
    (["--port=70000", "--server=localhost:1"], "--port=70000: cannot be used"),
]


def test_the_script_refuses_in_one_line():
    done = run_script("studio", *(flags for flags, _ in REFUSALS))
    for result, (flags, said) in zip(done, REFUSALS, strict=True):
        assert result.code == 1 and said in result.stderr, (flags, result)
        assert result.stderr.count("\n") == 1, result
