"""Starts the real or the embedded server as a process of its own, on `<models>/models.config`."""

import contextlib
import os
import pathlib
import shlex
import subprocess
import sys

from serving import models_config
from tests import real_server
from tf_talkinghead.errors import InputError


@contextlib.contextmanager
def process(kind, models, log):
    """(address, process id) of a running server of `kind`, "real" or "embedded"."""
    models_config.update(models)
    with (_real if kind == "real" else _embedded)(models, log) as found:
        yield found


@contextlib.contextmanager
def _real(models, log):
    if not shlex.split(os.environ.get("TF_SERVING_COMMAND", "")):
        raise InputError(
            "server=real: TF_SERVING_COMMAND is empty, expected a tensorflow_model_server; set it, "
            "or measure the embedded server with --option=server=embedded"
        )
    flags = {"model_config_file_poll_wait_seconds": 1, "file_system_poll_wait_seconds": 1}
    with real_server.RealServer(models, log, **flags) as server:
        yield server.address, server.process.pid


@contextlib.contextmanager
def _embedded(models, log):
    command = [
        sys.executable, "-m", "scripts.serve",
        f"--model_config_file={models_config.path_in(models)}", "--port=0",
        "--enable_batching", "--enable_per_model_batching_parameters",
        "--allow_version_labels_for_unavailable_models", "--grpc_max_threads=64",
        "--model_config_file_poll_wait_seconds=1", "--file_system_poll_wait_seconds=1",
    ]  # fmt: skip
    with open(log, "ab") as file:
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True)
    try:
        yield running.stdout.readline().split()[-1], running.pid
    finally:
        running.terminate()
        running.wait(60)


def resident_megabytes(pid):
    """Resident memory of a process and its children in MB (a wrapper may have started it)."""
    total, waiting = 0, [pid]
    while waiting:
        one = waiting.pop()
        try:
            for line in pathlib.Path(f"/proc/{one}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    total += int(line.split()[1])
            children = pathlib.Path(f"/proc/{one}/task/{one}/children").read_text()
            waiting += map(int, children.split())
        except OSError:
            continue
    return total / 1024
