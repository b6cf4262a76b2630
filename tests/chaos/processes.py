"""Processes that end with the test, and waiting with a deadline."""

import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from ports import free_port

HERE = Path(__file__).parent

#: What a connection to a server that comes and goes may raise.
UNREACHABLE = (OSError, http.client.HTTPException)


def wait_until(condition, what, deadline=30):
    """Wait until *condition* gives something true, and return that."""
    end = time.monotonic() + deadline
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"In {deadline} s it did not happen: {what}")
        time.sleep(0.02)
    return found


def ask(port, path, method="GET", timeout=10):
    """Ask a server, and give the answer's status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


class Process:
    """A process that can be started again and again.

    Args:
        command: what to start.
        log: the file for its output, which is appended to.
        environment: further variables.
    """

    def __init__(self, command, log, **environment):
        self._command = command
        self.log = log
        self._environment = {"CHAOS_FOLDER": str(log.parent), **environment}
        self._process = None
        self._lock = threading.Lock()

    def start(self):
        with self._lock, self.log.open("ab") as log:
            assert self._process is None
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **self._environment},
            )

    @property
    def pid(self):
        return self._process.pid

    def has_ended(self):
        return self._process is None or self._process.poll() is not None

    @property
    def exit_code(self):
        return self._process.poll()

    def signal(self, number):
        """Send a signal to the process and its children."""
        os.killpg(self._process.pid, number)

    def kill(self):
        """End it at once, if it has not ended; it can be started again."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process.stdin.close()

    def log_text(self):
        return self.log.read_text(errors="replace")


class Server(Process):
    """A process that serves the counting application."""

    def __init__(self, settings, log):
        self.port = free_port()
        script = str(HERE / "server.py")
        super().__init__(
            [sys.executable, script, str(self.port), settings], log
        )

    def ask(self, path, method="GET", timeout=10):
        return ask(self.port, path, method, timeout)

    def is_ready(self):
        try:
            return self.ask("/show_ready")[0] == 200
        except UNREACHABLE:
            assert not self.has_ended(), "a server ended by itself"
            return False
