"""kill -9 under load: the server dies in the middle of calls, is started again, and no caller
notices.
"""

import subprocess
import sys
import threading

import numpy as np
import pytest

from serving import models_config
from serving.client import AvatarClient
from tests import toy_models
from tests.real_server import RealServer, free_port
from tests.serving_fixtures import wait_until
from tests.toy_models import landmarks, level

CALLERS = 4


class EmbeddedProcess:
    """The serve script on `<models>/models.config`, in a process of its own."""

    def __init__(self, models, port):
        self.address = f"localhost:{port}"
        self._arguments = [
            f"--model_config_file={models_config.path_in(models)}", f"--port={port}",
            "--enable_batching", "--enable_per_model_batching_parameters",
            "--allow_version_labels_for_unavailable_models",
            "--grpc_max_threads=64",
        ]  # fmt: skip
        self._process = None

    def start(self):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "scripts.serve", *self._arguments],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self._process.stdout.readline().startswith("listening on ")

    def kill(self):
        self._process.kill()
        self._process.wait()

    def stop(self):
        if self._process is not None:
            self.kill()


@pytest.fixture
def server(server_kind, tmp_path):
    """A server that can be killed and started again on the same port."""
    models = tmp_path / "models"
    toy_models.publish(models, "anna", 1)
    models_config.update(models)
    if server_kind == "embedded":
        made = EmbeddedProcess(models, free_port())
    else:
        made = RealServer(models, tmp_path / "server.log", port=free_port())
    made.start()
    yield made
    made.stop()


def test_callers_survive_a_killed_server(server):
    stop, done, wrong = threading.Event(), [0] * CALLERS, []

    def call(index):
        rng = np.random.default_rng(index)
        with AvatarClient(server.address, "anna", jpeg=False, timeout=120) as avatar:
            while not stop.is_set():
                x = np.float32(rng.random())
                try:
                    frame = avatar.render(landmarks(x))[0]
                except Exception as error:  # the thread's end would hide it
                    wrong.append(str(error))
                    return
                if frame[0, 0].tolist() != [1, level(x), level(0.5)]:
                    wrong.append(f"{x}: {frame[0, 0]}")
                done[index] += 1

    threads = [threading.Thread(target=call, args=(index,)) for index in range(CALLERS)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: wrong or all(count > 20 for count in done), seconds=100)
        server.kill()
        server.start()
        before = list(done)
        wait_until(lambda: wrong or all(now > then for now, then in zip(done, before)), seconds=100)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []
