"""Opens the studio: make, move and drive avatars in a browser, live.

    python -m scripts.studio
    python -m scripts.studio --models=avatars --server=HOST:8500 --port=7860
    python -m scripts.studio --host=0.0.0.0 --tls_cert=cert.pem --tls_key=key.pem

The avatars of --models are served by --server, or by an embedded server that the studio starts. The
studio listens on this machine alone. With another --host every visitor needs the token in the
address that the studio prints, and browsers allow the camera over https only (--tls_cert,
--tls_key). Pictures of a visitor's camera are not stored.
"""

import os
import pathlib
import secrets
import signal
import sys
import threading
import webbrowser

from absl import flags

from scripts import command
from tf_talkinghead.errors import InputError

FLAGS = flags.FLAGS
flags.DEFINE_string("models", "avatars", "Folder of all avatars.")
flags.DEFINE_string(
    "server", None, "HOST:PORT of a server of that folder; default: an embedded one."
)
flags.DEFINE_string("host", "localhost", "Address to listen on.")
flags.DEFINE_integer("port", 7860, "Port of the page; 0 picks a free one.")
flags.DEFINE_string(
    "weights", "guided", 'Weights of new avatars: "guided", or a run directory of meta_train.'
)
flags.DEFINE_string(
    "token", None, "Secret that every visitor needs; default: none on this machine, else a new one."
)
flags.DEFINE_list("names", [], "Host names under which the studio is reached, besides --host.")
flags.DEFINE_string("tls_cert", None, "PEM file of the certificate chain, for https.")
flags.DEFINE_string("tls_key", None, "PEM file of its private key.")
flags.DEFINE_bool("open", True, "Open the page in a browser, where there is one.")

_SHORTEST_TOKEN = 16  # characters


def main(argv):
    command.no_arguments(argv)
    if bool(FLAGS.tls_cert) != bool(FLAGS.tls_key):
        raise InputError("--tls_cert and --tls_key go together")
    for name in ("tls_cert", "tls_key"):
        if FLAGS[name].value and not pathlib.Path(FLAGS[name].value).is_file():
            raise InputError(f"--{name}={FLAGS[name].value}: no such file")
    if FLAGS.token is not None and len(FLAGS.token) < _SHORTEST_TOKEN:
        raise InputError(f"--token: expected {_SHORTEST_TOKEN} characters or more")

    # Imported after the flags are checked: the web server, OpenCV and gRPC are slow to import.
    from serving.tls import VARIABLES
    from tf_talkinghead.studio.security import Access, is_loopback
    from tf_talkinghead.studio.server import running
    from tf_talkinghead.studio.studio import StudioOptions

    if FLAGS.server is None:
        # The embedded server uses no TLS, whatever the environment sets for other servers.
        for name in VARIABLES.values():
            os.environ.pop(name, None)
    token = FLAGS.token
    if token is None and not is_loopback(FLAGS.host):
        token = secrets.token_urlsafe(24)
    names = frozenset(name.lower() for name in [*FLAGS.names, FLAGS.host])
    options = StudioOptions(FLAGS.models, FLAGS.weights, Access(token, names))
    tls = (FLAGS.tls_cert, FLAGS.tls_key) if FLAGS.tls_cert else None
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with running(options, FLAGS.host, FLAGS.port, FLAGS.server, tls) as started:
        address = started.address + (f"?token={token}" if token else "")
        print(f"studio at {address}", flush=True)
        if tls is None and not is_loopback(FLAGS.host):
            print("without --tls_cert and --tls_key browsers do not allow the camera", flush=True)
        if FLAGS.open and _has_desktop():
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        while not stop.wait(0.5) and started.thread.is_alive():
            pass


def _has_desktop():
    """Whether a browser would open in a window; a text browser in the terminal is no use."""
    shown = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(shown) or sys.platform in ("darwin", "win32")


if __name__ == "__main__":
    command.run(main)
