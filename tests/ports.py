"""Ports for the servers of tests."""

import contextlib
import socket

#: Below those that the system gives to whoever asks for any.
_ports = iter(range(20_000, 32_000))


def free_port():
    """Give a port that no other test gets, whichever process that runs in.

    One that the system finds would be free for others as well, until the
    server has it, and again while that restarts. This process claims the port
    of the same number in UDP, until it ends.
    """
    for port in _ports:
        claim = socket.socket(type=socket.SOCK_DGRAM)
        with contextlib.suppress(OSError), socket.socket() as probe:
            claim.bind(("127.0.0.1", port))
            probe.bind(("127.0.0.1", port))
            claim.detach()  # so that it stays open
            return port
        claim.close()
    raise OSError("all ports are taken")
