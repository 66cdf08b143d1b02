"""Processes that prepare clips: what they share, what a crash costs, and when they end."""

import contextlib
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from tests.face_footage import write_face
from tf_talkinghead.config import PreparationConfig
from tf_talkinghead.data.clip_process import ClipProcess, ForkServer
from tf_talkinghead.data.clip_worker import Job, read_outcome
from tf_talkinghead.data.listing import Clip
from tf_talkinghead.errors import InputError
from tf_talkinghead.faces.landmarks import model_file

CLIP = Clip("anna.mp4", "anna", "anna.mp4")
ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture
def job(tmp_path, portrait):
    write_face(tmp_path / CLIP.name, portrait, 4)
    return Job(
        str(tmp_path), str(tmp_path / "work" / "clips"), PreparationConfig(size=48, max_frames=4)
    )


def children_of(pid):
    return [
        int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ]


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kilobytes(pid, name):
    """A line of the kernel's account of a process's memory."""
    lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(name))


def test_two_processes_share_one_landmark_model(job):
    """The model's pages are shared: each process has less than its size of its own."""
    size = model_file("shape_predictor_68_face_landmarks.dat").stat().st_size // 1024
    with ForkServer(job) as server:
        pair = [ClipProcess(job, server.address) for _ in range(2)]
        for process in pair:
            process.prepare(CLIP)
        assert pair[0].pid != pair[1].pid
        for process in pair:
            own, shared = kilobytes(process.pid, "Private_"), kilobytes(process.pid, "Shared_")
            assert own < size < shared, (own, size, shared)
        for process in pair:
            process.close()
    assert read_outcome(job.work, CLIP.name).frames == 4


def test_a_file_that_crashes_its_reader_is_rejected_and_the_next_is_prepared(
    job, tmp_path, monkeypatch
):
    """The child dies on the clip, twice, as of a segmentation fault in a decoder."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, pathlib\n"
        f"counted = pathlib.Path({str(tmp_path / 'forks')!r})\n"
        "def die():\n"
        "    with open(counted, 'a') as file: file.write('x')\n"
        "    if counted.stat().st_size <= 2: os.kill(os.getpid(), 11)\n"
        "os.register_at_fork(after_in_child=die)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    child = ClipProcess(job)
    child.prepare(CLIP._replace(name="evil.mp4"))
    child.prepare(CLIP)
    child.close()
    assert read_outcome(job.work, "evil.mp4").reason == "it crashes the program that reads it"
    assert (
        read_outcome(job.work, CLIP.name).frames == 4 and (tmp_path / "forks").read_text() == "xxx"
    )


def test_a_clip_that_hangs_its_reader_is_rejected_and_the_next_is_prepared(job):
    """The child is stopped, as if a decoder never returned: it is killed and replaced."""
    with ForkServer(job) as server:
        process = ClipProcess(job, server.address)
        process.prepare(CLIP)
        child = process.pid
        os.kill(child, signal.SIGSTOP)
        process.seconds = 0.5
        process.prepare(CLIP._replace(name="evil.mp4"))
        wait_until(lambda: not is_running(child))
        process.seconds = 600
        process.prepare(CLIP._replace(name="next.mp4"))
        process.close()
    assert read_outcome(job.work, "evil.mp4").reason == "it cannot be read within 0.5 s"
    assert "no such file" in read_outcome(job.work, "next.mp4").reason


def test_an_interrupt_is_the_clients_to_answer(job):
    """Ctrl-C reaches every process of a terminal: server, forkserver and child go on."""
    with ForkServer(job) as server:
        process = ClipProcess(job, server.address)
        process.prepare(CLIP)
        child = process.pid
        for pid in (child, server.pid, *children_of(server.pid)):
            os.kill(pid, signal.SIGINT)
        time.sleep(0.2)  # for one that does not ignore it to die
        process.prepare(CLIP)
        assert process.pid == child
        process.close()


def test_a_landmark_model_that_cannot_be_read_is_an_error_and_no_clip_is_rejected(job, tmp_path):
    model = tmp_path / "points.dat"
    model.write_bytes(b"no predictor")
    process = ClipProcess(dataclasses.replace(job, landmark_model=str(model)))
    with pytest.raises(InputError, match="points.dat"):
        process.prepare(CLIP)
    process.close()
    assert read_outcome(job.work, CLIP.name) is None


def test_server_and_child_end_with_their_client_however_it_ended(job, tmp_path, monkeypatch):
    """kill -9 of the client of a server and a child: both end, and the socket's folder goes.

    The client is a script without `if __name__ == "__main__"`: no child imports it.
    """
    script = tmp_path / "client.py"
    script.write_text(
        "import sys, time\n"
        "from tf_talkinghead.config import PreparationConfig\n"
        "from tf_talkinghead.data import clip_process, clip_worker\n"
        "from tf_talkinghead.data.listing import Clip\n"
        "job = clip_worker.Job(*sys.argv[1:3], PreparationConfig(size=48, max_frames=4))\n"
        "server = clip_process.ForkServer(job)\n"
        "child = clip_process.ClipProcess(job, server.address)\n"
        f"child.prepare(Clip(*{tuple(CLIP)!r}))\n"
        "print(server.pid, child.pid, server.address, flush=True)\n"
        "time.sleep(100)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    command = [sys.executable, script, job.root, job.work]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        server, child, address = process.stdout.readline().split()
        family = [server, child, *children_of(server)]  # the server's: forkserver, resource tracker
        process.send_signal(signal.SIGKILL)
    wait_until(lambda: not pathlib.Path(address).parent.exists())
    wait_until(lambda: not any(is_running(one) for one in family))


def is_running(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_a_server_that_has_ended_or_does_not_start_is_one_line(job, tmp_path, monkeypatch):
    with ForkServer(job) as server:
        pass
    with pytest.raises(InputError, match="has ended .*start again"):
        ClipProcess(job, server.address).prepare(CLIP)
    (tmp_path / "sitecustomize.py").write_text("import os\nos._exit(1)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(InputError, match="does not start; .*messages.txt holds its messages"):
        ForkServer(job)
