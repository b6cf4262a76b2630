"""The application of client_app.py, as waitress serves it in a process."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

from folders import SUPPORT
from ports import free_port, wait_for_server


class ClientServer:
    """A server whose jobs wait at gates.

    Args:
        folder: where its database, its gates and its log are to be.
        options: further options of waitress.
        settings: further settings of the application.
    """

    def __init__(self, folder, *options, **settings):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._options = options
        self._environ = os.environ | {
            "CLIENT_FOLDER": str(folder),
            "CLIENT_SETTINGS": json.dumps(settings),
        }
        self._process = None

    def start(self):
        """Serve, and return when it answers."""
        log = self._folder / "log"
        with log.open("ab") as said:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "waitress",
                    f"--listen=127.0.0.1:{self.port}",
                    "--threads=8",
                    "--channel-request-lookahead=1",
                    *self._options,
                    "--call",
                    "client_app:make_app",
                ],
                cwd=SUPPORT,
                env=self._environ,
                stdout=said,
                stderr=said,
            )
        wait_for_server(self._process, self.port, log)

    def kill(self):
        """End the process at this very moment."""
        self._process.kill()
        self._process.wait()

    def freeze(self):
        """Have the process do nothing, until it is thawed or killed."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self):
        """Have the process go on."""
        self._process.send_signal(signal.SIGCONT)

    def _post(self, path, body=b""):
        asked = urllib.request.Request(self.url + path, body, method="POST")
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return answer.read()

    def schedule(self, kind, *arguments, delay=0):
        """Schedule a job, and give its sid."""
        body = json.dumps(arguments).encode()
        path = f"/start/{kind}?delay={delay}"
        return json.loads(self._post(path, body))["sid"]

    def open(self, *gates):
        """Let the jobs pass that wait at these gates."""
        for gate in gates:
            self._post(f"/open/{gate}")

    def look(self, sid):
        """Give the status document of a job, or ``None``."""
        try:
            with urllib.request.urlopen(
                f"{self.url}/jobs/{sid}", timeout=60
            ) as answer:
                return json.load(answer)
        except urllib.error.HTTPError:
            return None

    def wait_for(self, sid, state):
        """Wait until a job is in a state, or gone for ``None``."""
        deadline = time.monotonic() + 60
        while True:
            document = self.look(sid)
            found = document and document["state"]
            if found == state:
                return document
            assert time.monotonic() < deadline, f"{found}, not {state}"
            time.sleep(0.02)  # paces the loop; the condition decides

    def wait_for_progress(self, path, done):
        """Wait until a job, by its path, has made so much progress."""
        deadline = time.monotonic() + 60
        while True:
            progress = self.look(path.rpartition("/")[2])["progress"]
            if progress and progress["done"] == done:
                return
            assert time.monotonic() < deadline, progress
            time.sleep(0.02)  # paces the loop; the condition decides
