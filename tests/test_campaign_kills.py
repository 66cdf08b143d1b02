"""The harness of the faults campaign: it kills where it says, and catches a writer that is not
atomic.
"""

import signal

import pytest

from tests.campaigns import kills, toy_writers
from tests.campaigns.disk_changes import DiskChanges
from tests.campaigns.fork_server import ForkServer

MOMENTS = 16


@pytest.fixture(scope="module")
def server():
    with ForkServer(["tf_talkinghead.files"]) as running:
        yield running


def toy(atomically):
    return kills.Command(
        f"toy {atomically}",
        lambda folder: None,
        "tests.campaigns.toy_writers:write",
        lambda folder: [str(folder), atomically],
        toy_writers.check,
    )


@pytest.mark.parametrize("atomically", [True, False])
def test_a_writer_that_is_not_atomic_is_caught(server, tmp_path, atomically):
    command = toy(atomically)
    known = kills.reference(server, command, tmp_path / "reference")
    found = [
        kills.kill_once(server, command, known, number, 0, tmp_path / "killed")
        for number in range(MOMENTS)
    ]
    assert all(result["code"] == -signal.Signals[result["signal"]] for result in found)
    assert {result["signal"] for result in found} == {"SIGKILL", "SIGTERM"}
    assert all(0 < result["change"] and result["after"] for result in found)
    wrong = [result["wrong"] for result in found if result["wrong"]]
    if atomically:
        assert wrong == []
    else:
        assert len(wrong) > MOMENTS // 4 and all(".json: " in text for text in wrong)


def test_a_failing_command_has_no_reference(server, tmp_path):
    broken = kills.Command(
        "broken", lambda folder: None, "tests.campaigns.toy_writers:none", lambda folder: [],
        toy_writers.check,
    )  # fmt: skip
    with pytest.raises(RuntimeError, match="no attribute"):
        kills.reference(server, broken, tmp_path / "reference")


def test_jobs_that_hang_are_ended(server, tmp_path):
    job = server.start("time:sleep", [60], tmp_path)
    with pytest.raises(TimeoutError):
        job.wait(0.1)
    assert job.code == -signal.SIGKILL


def test_changes_of_new_folders_are_seen(tmp_path):
    with DiskChanges(tmp_path) as changes:
        (tmp_path / "a" / "b").mkdir(parents=True)
        (tmp_path / "a" / "b" / "c").write_text("x")
        (tmp_path / "a" / "b" / "c").rename(tmp_path / "a" / "d")
        seen = {(change.kind, change.path) for change in changes.read(1)}
        (tmp_path / "a" / "b" / "e").write_text("x")
        seen |= {(change.kind, change.path) for change in changes.read(1)}
    assert {("create", "a"), ("create", "a/b"), ("create", "a/d"), ("write", "a/b/e")} <= seen


@pytest.mark.slow
def test_the_campaign_runs_and_goes_on_where_it_stopped(tmp_path):
    from tests.campaigns import faults

    options = {"folder": str(tmp_path), "only": "delete", "moments": "1"}
    found = faults.run("tiny", options)
    assert found["moments"] == 1 and found["faults_found"] == 0
    found = faults.run("tiny", {**options, "moments": "2"})
    assert found["moments"] == 2 and found["moments_left"] == 0
