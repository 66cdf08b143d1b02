"""Runs a studio: the web server, and the embedded avatar server unless another one is named.

with running(options, port=0) as started:
    started.address      # http://localhost:PORT/
"""

import contextlib
import pathlib
import re
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

import uvicorn

from tf_talkinghead.errors import InputError
from tf_talkinghead.studio.app import make_app
from tf_talkinghead.studio.security import is_loopback
from tf_talkinghead.studio.session import MAX_MESSAGE_BYTES
from tf_talkinghead.studio.studio import Studio, StudioOptions

# Seconds between switches of Python's threads. At the usual 5 ms, each of the fifteen calls into
# dlib for one frame may wait 5 ms for the interpreter.
_SWITCH = 0.001


@dataclass
class Started:
    """A running studio."""

    studio: Studio
    address: str  # http://HOST:PORT/
    thread: threading.Thread
    _server: uvicorn.Server

    def wait(self) -> None:
        """Waits until the studio stops."""
        while self.thread.is_alive():
            self.thread.join(0.5)

    def stop(self) -> None:
        """Closes all tabs' connections and ends the web server."""
        self._server.should_exit = True
        self.thread.join(10)


@contextlib.contextmanager
def running(
    options: StudioOptions,
    host: str = "localhost",
    port: int = 0,
    server: str | None = None,
    tls: tuple[str, str] | None = None,
):
    """Runs a studio while the `with` block lasts; gives `Started`.

    Args:
      options: folder, weights and access.
      host, port: where the page is served; port 0 picks a free one.
      server: HOST:PORT of the avatars; None: the embedded server in a process of its own.
      tls: paths of certificate and key, PEM; None: http without TLS.

    Raises:
      InputError: the port is taken, TLS files cannot be used, or the server does not start.
    """
    sys.setswitchinterval(_SWITCH)
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(_listening(host, port))
        address = server or stack.enter_context(embedded(options.models))
        studio = stack.enter_context(Studio(options, address))
        config = uvicorn.Config(
            make_app(studio),
            log_level="warning",
            ws="websockets-sansio",
            ws_max_size=MAX_MESSAGE_BYTES,
            ws_per_message_deflate=False,  # JPEGs do not shrink
            timeout_graceful_shutdown=3,
            server_header=False,
            ssl_certfile=tls and tls[0],
            ssl_keyfile=tls and tls[1],
            lifespan="off",
        )
        try:
            config.load()
        except OSError as error:  # ssl.SSLError is one
            raise InputError(f"--tls_cert, --tls_key: cannot be used ({error})") from error
        web = uvicorn.Server(config)
        thread = threading.Thread(target=web.run, args=([listening],), daemon=True)
        thread.start()
        while not web.started and thread.is_alive():
            time.sleep(0.01)
        name = "localhost" if is_loopback(host) else host
        name = f"[{name}]" if ":" in name else name
        port = listening.getsockname()[1]
        started = Started(studio, f"{'https' if tls else 'http'}://{name}:{port}/", thread, web)
        stack.callback(started.stop)
        yield started


@contextlib.contextmanager
def _listening(host, port):
    """Gives a socket that listens at host:port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
            listening.listen(64)
        except (OSError, OverflowError) as error:
            raise InputError(f"--host={host} --port={port}: cannot be used ({error})") from error
        yield listening


@contextlib.contextmanager
def embedded(models):
    """Runs an embedded server of the folder `models`, in a process of its own; gives its address.

    The folder is created if it does not exist.
    """
    try:
        pathlib.Path(models).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--models={models}: cannot be used ({error.strerror})") from error
    command = [
        sys.executable,
        "-m",
        "scripts.serve",
        f"--models={models}",
        "--port=0",
        "--host=localhost",
        "--file_system_poll_wait_seconds=0.5",
        "--verbosity=-1",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        for line in process.stdout:
            if match := re.match(r"listening on (\S+)", line):
                yield match[1]
                return
        raise InputError("the avatar server did not start: see the message above")
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
