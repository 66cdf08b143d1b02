"""32 clients while versions are published, reloaded and removed underneath.

    python -m pytest -m slow tests/test_serving_soak.py -s

Three minutes, or SOAK_SECONDS. No client names a version. Every frame must be right, no error may
be left after the client's own retries, and the server's memory must stay flat.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import time

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc

from serving.client import AvatarClient, AvatarError
from tests import toy_models
from tests.toy_models import landmarks, level

SECONDS = float(os.environ.get("SOAK_SECONDS", "180"))
CLIENTS = 32
KEPT = 2  # versions left on disk


def resident_megabytes(process):
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024


def start(models, log):
    """The serve script in a process of its own, with a config over gRPC.

    Returns (process, address).
    """
    config = models / "models.config"
    config.write_text(str(reload_request(models, ["anna"]).config))
    process = subprocess.Popen(
        [
            sys.executable, "-m", "scripts.serve", f"--model_config_file={config}", "--port=0",
            "--enable_batching", "--enable_per_model_batching_parameters",
            "--file_system_poll_wait_seconds=0.2",
        ],
        stdout=subprocess.PIPE, stderr=log, text=True,
    )  # fmt: skip
    return process, process.stdout.readline().split()[-1]


def reload_request(models, names):
    request = model_management_pb2.ReloadConfigRequest()
    for name in names:
        request.config.model_config_list.config.add(
            name=name, base_path=str(models / name), model_platform="tensorflow"
        )
    return request


class Clients:
    """CLIENTS threads, each rendering random landmarks and checking every pixel it gets."""

    def __init__(self, address, published):
        self.stop, self.frames, self.wrong, self.errors = threading.Event(), 0, [], []
        self._published = published
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(address, i)) for i in range(CLIENTS)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, address, seed):
        rng = np.random.default_rng(seed)
        with AvatarClient(address, "anna", jpeg=False, in_flight=1) as avatar:
            while not self.stop.is_set():
                x = rng.random(rng.integers(1, 5), np.float32)
                try:
                    frames = avatar.render(
                        np.concatenate([landmarks(value, 1 - value) for value in x])
                    )
                except AvatarError as error:
                    self.errors.append(str(error))
                    continue
                good = (frames[..., 1] == np.array([level(v) for v in x])[:, None, None]).all()
                good &= (
                    frames[..., 2] == np.array([level(np.float32(1 - v)) for v in x])[:, None, None]
                ).all()
                good &= (
                    len(np.unique(frames[..., 0])) == 1 and frames[0, 0, 0, 0] in self._published
                )
                with self._lock:
                    self.frames += len(x)
                    if not good:
                        self.wrong.append(frames[:, 0, 0].tolist())

    def end(self):
        self.stop.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.slow
def test_soak(tmp_path):
    models = tmp_path / "models"
    toy_models.publish(models, "anna", 1, weights=1_000_000)
    toy_models.publish(models, "guest", 1)
    published, memory = {1}, []
    with open(tmp_path / "server.log", "w") as log:
        process, address = start(models, log)
        try:
            clients = Clients(address, published)
            stub = model_service_pb2_grpc.ModelServiceStub(grpc.insecure_channel(address))
            began = time.monotonic()
            version, reloads = 1, 0
            while time.monotonic() - began < SECONDS and version < 250:
                version += 1
                published.add(version)
                toy_models.publish(models, "anna", version, weights=1_000_000)
                for old in sorted(
                    int(path.name) for path in (models / "anna").iterdir() if path.name.isdigit()
                )[:-KEPT]:
                    shutil.rmtree(models / "anna" / str(old))
                # the call may meet a full server, as any other: try until it is heard
                names = ["anna", "guest"] if version % 2 else ["anna"]
                for _ in range(200):
                    try:
                        stub.HandleReloadConfigRequest(reload_request(models, names), timeout=30)
                        reloads += 1
                        break
                    except grpc.RpcError as error:
                        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, error
                        time.sleep(0.01)
                memory.append(resident_megabytes(process))
                time.sleep(1.0)
            clients.end()
            alive = process.poll() is None
        finally:
            process.terminate()
            code = process.wait(60)
    third = len(memory) // 3
    early, late = np.median(memory[third : 2 * third]), np.median(memory[2 * third :])
    print(
        f"\n{SECONDS:.0f} s, {CLIENTS} clients: {clients.frames} frames, {len(clients.wrong)} "
        "wrong, "
        f"{len(clients.errors)} errors left; {version} versions, {reloads} reloads; "
        f"resident memory {early:.0f} MB in the middle third, {late:.0f} MB in the last; "
        f"over time {[round(value) for value in memory[:: max(1, len(memory) // 15)]]}"
    )
    assert alive and code == 0
    assert clients.wrong == [] and clients.errors == [] and clients.frames > 1000
    assert late < early * 1.05 + 5, f"memory grew from {early:.0f} to {late:.0f} MB"
