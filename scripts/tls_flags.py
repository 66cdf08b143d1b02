"""Flags of TLS for scripts that call a server: --tls_ca, --tls_key, --tls_cert, --tls_server_name.

A flag that is not given is taken from the environment, see serving/tls.py.
"""

from absl import flags

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "tls_ca",
    None,
    "PEM file of the authority that signed the server's certificate; turns TLS on. Default: "
    "$TALKINGHEAD_TLS_CA.",
)
flags.DEFINE_string(
    "tls_key", None, "PEM file of the caller's key (mutual TLS); default: $TALKINGHEAD_TLS_KEY."
)
flags.DEFINE_string(
    "tls_cert", None, "PEM file of the caller's certificate; default: $TALKINGHEAD_TLS_CERT."
)
flags.DEFINE_string(
    "tls_server_name",
    None,
    "Host name in the server's certificate, if it is not the one called; default: "
    "$TALKINGHEAD_TLS_SERVER_NAME.",
)


def tls():
    """The `Tls` of the flags and the environment; None where neither names anything."""
    import os

    from serving.tls import VARIABLES, from_environment

    given = {"ca": "tls_ca", "key": "tls_key", "certificate": "tls_cert"}
    given["server_name"] = "tls_server_name"
    flagged = {VARIABLES[field]: FLAGS[name].value for field, name in given.items()}
    return from_environment(
        {**os.environ, **{name: value for name, value in flagged.items() if value is not None}}
    )
