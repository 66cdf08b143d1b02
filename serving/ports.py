"""Whether a port is free, before a server that would not notice takes half of it."""

import errno
import socket


def check_free(host, port):
    """OSError where any address of `host` has `port` taken: gRPC is content with
    one free address of several.
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
