"""A server of slow jobs, which tests stop while one of them runs."""

import json
import os
import signal
import subprocess
import sys
import urllib.request

from folders import PYTHONPATH, SUPPORT
from ini_files import LOGGERS, lines
from ports import free_port, wait_for_server
from shop import wait_until
from ZODB.DB import DB
from ZODB.FileStorage import FileStorage

INI = """\
[app:main]
use = call:slow_app:main
zodbconn.uri = file://{folder}/Data.fs?connection_pool_size=20
folder = {folder}
{settings}

[server:main]
use = egg:waitress#main
listen = 127.0.0.1:{port}
"""


class SlowServer:
    """``slow_app`` as pserve serves it, in a process of its own."""

    def __init__(self, folder, **settings):
        self._folder = folder
        self._log = folder / "log"
        self._port = free_port()
        ini = folder / "site.ini"
        ini.write_text(
            INI.format(
                folder=folder, settings=lines(settings), port=self._port
            )
            + LOGGERS
        )
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pyramid.scripts.pserve", ini],
                cwd=SUPPORT,
                env={
                    **os.environ,
                    "PYTHONPATH": PYTHONPATH,
                    "PYTHONFAULTHANDLER": "1",
                },
                stdout=log,
                stderr=log,
            )
        wait_for_server(self.process, self._port, self._log)

    def ask(self, path):
        """Send a request, and read the answer."""
        url = f"http://127.0.0.1:{self._port}{path}"
        with urllib.request.urlopen(url, timeout=60) as answer:
            return json.load(answer)

    def start_job(self):
        """Schedule a job, and give its sid when it has begun."""
        begun = self.begun
        sid = self.ask("/start")["sid"]
        wait_until(lambda: self.begun > begun)
        return sid

    @property
    def begun(self):
        """How often a job has begun, also in a server of before."""
        path = self._folder / "begun"
        return path.read_text().count("begun") if path.exists() else 0

    def let_jobs_go(self):
        """Let all jobs come to their end."""
        (self._folder / "leave").touch()

    def press(self):
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def log(self):
        return self._log.read_text()

    def says(self, text):
        """Wait until the log has this text."""
        wait_until(lambda: text in self.log(), 90)

    def ended(self):
        """Wait until it has ended, and give its code; it did so in peace."""
        code = end_of(self.process, self._log)
        assert "Traceback" not in self.log()
        return code

    def effects(self):
        """Tell what its jobs have left, when it has ended."""
        db = DB(FileStorage(str(self._folder / "Data.fs")))
        with db.transaction() as connection:
            found = list(connection.root().get("history", ()))
        db.close()
        return found

    def kill(self):
        self.process.kill()
        self.process.wait()


def end_of(process, log):
    """Wait for the end of a process, and give its code.

    If it does not come, the log has what its threads are at, as long as it has
    Python's fault handler.
    """
    try:
        return process.wait(90)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        process.wait(30)
        raise AssertionError(log.read_text()) from None
