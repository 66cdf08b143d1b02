"""A real tensorflow_model_server for the tests, started with the flags and files of `serving/`.

`TF_SERVING_COMMAND` names the program (`tensorflow_model_server`, or a wrapper that takes the same
flags); where it is not set, the tests that need it are skipped. The flags are read from the
Dockerfile's ENTRYPOINT, so that the tests use the deployed ones: only ports, paths and polling
intervals are replaced.
"""

import json
import os
import pathlib
import re
import shlex
import socket
import subprocess

import grpc
import pytest

SERVING = pathlib.Path(__file__).parents[1] / "serving"
START_SECONDS = 120  # the first start may have to fetch the server's libraries


def command():
    """The program and its leading arguments as a list; skips the test where there is none."""
    text = os.environ.get("TF_SERVING_COMMAND", "")
    if not text:
        pytest.skip("no real tensorflow_model_server: TF_SERVING_COMMAND is not set")
    return shlex.split(text)


def production_flags():
    """The flags in the Dockerfile, {name: value}."""
    entry = re.search(r"ENTRYPOINT (\[.*\])", (SERVING / "Dockerfile").read_text(), re.DOTALL)[1]
    arguments = json.loads(entry.replace("\\\n", ""))[1:]
    return dict(argument.removeprefix("--").split("=", 1) for argument in arguments)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class RealServer:
    """A tensorflow_model_server on `<models>/models.config`, for the time of a `with` block.

    Args:
      models: the models folder with a models.config; it replaces `/models` of the production flags.
      log: file that takes the server's messages.
      port: gRPC port; a free one by default.
      flags: {name: value} that override the production flags; None removes one.
    """

    def __init__(self, models, log, port=None, **flags):
        self.models, self.log = pathlib.Path(models), pathlib.Path(log)
        self.port, self.rest_port = port or free_port(), free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.flags = {
            **production_flags(),
            "port": self.port,
            "rest_api_port": self.rest_port,
            "model_config_file": self.models / "models.config",
            **{
                name: value.replace("/etc/serving", str(SERVING))
                for name, value in production_flags().items()
                if value.startswith("/etc/serving/")
            },
            **flags,
        }
        self._command = command()
        self.process = None

    def __enter__(self):
        self.start()
        self.wait_until_ready()
        return self

    def __exit__(self, *exc):
        self.stop()

    def start(self):
        arguments = [f"--{name}={value}" for name, value in self.flags.items() if value is not None]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self._command, *arguments],
                stdout=log,
                stderr=log,
                env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0"},
            )

    def wait_until_ready(self):
        with grpc.insecure_channel(self.address) as channel:
            try:
                grpc.channel_ready_future(channel).result(START_SECONDS)
            except grpc.FutureTimeoutError:
                raise AssertionError(
                    f"the server did not start: {self.messages()[-2000:]}"
                ) from None
        assert self.process.poll() is None, self.messages()[-2000:]

    def messages(self):
        return self.log.read_text(errors="replace")

    def kill(self):
        """Ends the process as a crash does (SIGKILL)."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
