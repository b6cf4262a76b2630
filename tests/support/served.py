"""The demonstration, as pserve serves it in a process of its own."""

import subprocess
import sys

from folders import REPOSITORY
from ini_files import lines
from ports import free_port, wait_for_server

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
                settings=lines(settings),
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
        wait_for_server(self._process, self.port, self._log)

    def kill(self):
        """End the process at this very moment."""
        self._process.kill()
        self._process.wait()
