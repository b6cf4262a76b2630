"""Ports for the servers of tests."""

import contextlib
import socket
import time

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


def answers(port):
    """Tell whether something listens there."""
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    return False


def wait_for_server(process, port, log):
    """Wait until a process listens there; what it says is in a file."""
    deadline = time.monotonic() + 90
    while not answers(port):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)  # paces the loop; the condition decides
