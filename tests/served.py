"""The demonstration, as pserve serves it in a process of its own."""

import contextlib
import socket
import subprocess
import sys
import time
from pathlib import Path

from ports import free_port

REPOSITORY = Path(__file__).parent.parent

INI = """\
[app:main]
use = config:{repository}/development.ini
zodbconn.uri = file://{folder}/Data.fs?connection_pool_size=10
text_analyser.folder = {folder}
{settings}

[server:main]
use = egg:waitress#main
listen = 127.0.0.1:{port}
"""


class Server:
    """The demo as pserve serves it, which can be killed and restarted."""

    def __init__(self, folder, **settings):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = folder / "pserve.log"
        self._ini = folder / "demo.ini"
        self._ini.write_text(
            INI.format(
                repository=REPOSITORY,
                folder=folder,
                port=self.port,
                settings="\n".join(
                    f"{name.replace('__', '.')} = {value}"
                    for name, value in settings.items()
                ),
            )
        )
        self._process = None

    def start(self):
        """Serve, and return when it answers."""
        command = [sys.executable, "-m", "pyramid.scripts.pserve"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, self._ini],
                cwd=REPOSITORY,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + 90
        while not self._answers():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.05)  # paces the loop; the condition decides

    def _answers(self):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        return False

    def kill(self):
        """End the process at this very moment."""
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def served_demo(folder, **settings):
    """Serve the demonstration on a database in *folder*; give its URL."""
    server = Server(folder, **settings)
    server.start()
    try:
        yield server.url
    finally:
        server.kill()
