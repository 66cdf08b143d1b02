"""TLS and mutual TLS of callers: their PEM files, from arguments or the environment.

TALKINGHEAD_TLS_CA            the authority that signed the server's certificate; turns TLS on
TALKINGHEAD_TLS_KEY           the caller's private key, for mutual TLS
TALKINGHEAD_TLS_CERT          the caller's certificate, likewise
TALKINGHEAD_TLS_SERVER_NAME   the host name in the server's certificate, if not the address's
"""

import dataclasses
import os

import grpc

from tf_talkinghead.errors import InputError

VARIABLES = {
    "ca": "TALKINGHEAD_TLS_CA",
    "key": "TALKINGHEAD_TLS_KEY",
    "certificate": "TALKINGHEAD_TLS_CERT",
    "server_name": "TALKINGHEAD_TLS_SERVER_NAME",
}


@dataclasses.dataclass(frozen=True)
class Tls:
    """TLS settings: PEM files of the server's authority and, for mutual TLS, the client's pair."""

    ca: str
    key: str = ""
    certificate: str = ""
    server_name: str = ""  # if the certificate's host name differs from the address

    def credentials(self):
        """The channel credentials; InputError for files that are missing or not PEM."""
        if bool(self.key) != bool(self.certificate):
            raise InputError(
                "TLS: name both the client's key and its certificate, or neither; got one of them"
            )
        return grpc.ssl_channel_credentials(
            _read(self.ca), _read(self.key), _read(self.certificate)
        )


def from_environment(environment=os.environ) -> Tls | None:
    """The `Tls` that VARIABLES name; None where none is set.

    Raises:
      InputError: some are set, but not the authority.
    """
    values = {field: environment.get(name, "") for field, name in VARIABLES.items()}
    if not any(values.values()):
        return None
    if not values["ca"]:
        raise InputError(
            f"{VARIABLES['ca']} is not set, though other TALKINGHEAD_TLS_ variables are: TLS needs "
            "the authority that signed the server's certificate"
        )
    return Tls(**values)


def channel(address: str, options: list, tls: Tls | None) -> grpc.Channel:
    """A gRPC channel to `address` with channel `options`; encrypted unless `tls` is None."""
    if tls is None:
        return grpc.insecure_channel(address, options)
    if tls.server_name:
        options = [*options, ("grpc.ssl_target_name_override", tls.server_name)]
    return grpc.secure_channel(address, tls.credentials(), options)


def _read(path):
    if not path:
        return None
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if b"-----BEGIN " not in content:
        raise InputError(f"{path}: expected a PEM file, with a line -----BEGIN ...")
    return content
