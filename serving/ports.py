"""Port check for servers that do not detect a partly occupied port themselves."""

import errno
import socket


def check_free(host, port):
    """Raises OSError if `port` is in use on any address of `host`.

    gRPC itself accepts a port that is free on one of several addresses.
    """
    for family, kind, protocol, _, address in (
        socket.getaddrinfo(host, port, type=socket.SOCK_STREAM) if port else ()
    ):
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        except OSError as error:
            # others: a family this machine does not have
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                raise
