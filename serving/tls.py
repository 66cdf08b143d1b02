"""TLS settings of the client."""

import dataclasses

import grpc

from tf_talkinghead.errors import InputError


@dataclasses.dataclass(frozen=True)
class Tls:
    """TLS settings: PEM files of the server's authority and, for mutual TLS, the client's pair."""

    ca: str
    key: str = ""
    certificate: str = ""
    server_name: str = ""  # if the certificate's host name differs from the address

    def credentials(self):
        if bool(self.key) != bool(self.certificate):
            raise InputError("TLS: a client key needs its certificate, and the other way round")
        return grpc.ssl_channel_credentials(
            _read(self.ca), _read(self.key), _read(self.certificate)
        )


def _read(path):
    if not path:
        return None
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
