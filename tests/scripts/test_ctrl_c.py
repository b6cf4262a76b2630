"""What somebody at a terminal sees who stops a server while a job runs."""

import json
import signal
import subprocess
import sys
import urllib.request

import pytest
from folders import TESTS
from ports import free_port, wait_for_server
from shop import wait_until

SCRIPTS = TESTS / "scripts"

INI = """\
[app:main]
use = call:held:main
zodbconn.uri = file://{folder}/Data.fs?connection_pool_size=20
zodb_async.scheduler = {keeper}
zodb_async.grace = {grace}
zodb_async.autostart = true
folder = {folder}

[server:main]
use = egg:waitress#main
listen = 127.0.0.1:{port}

[loggers]
keys = root

[handlers]
keys = console

[formatters]
keys = plain

[logger_root]
level = INFO
handlers = console

[handler_console]
class = StreamHandler
args = (sys.stderr,)
formatter = plain

[formatter_plain]
format = %(levelname)s %(message)s
"""


class Server:
    """A server as somebody starts it at a terminal."""

    def __init__(self, folder, keeper="zodb", grace=600):
        self.folder = folder
        self.port = free_port()
        self.log = folder / "log"
        ini = folder / "site.ini"
        values = {"folder": folder, "keeper": keeper, "grace": grace}
        ini.write_text(INI.format(**values, port=self.port))
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pyramid.scripts.pserve", ini],
                cwd=SCRIPTS,
                stdout=log,
                stderr=log,
            )
        wait_for_server(self.process, self.port, self.log)

    def ask(self, path):
        """Send a request, and read the answer."""
        url = f"http://127.0.0.1:{self.port}{path}"
        with urllib.request.urlopen(url, timeout=60) as answer:
            return json.load(answer)

    @property
    def begun(self):
        """How often the job has begun."""
        path = self.folder / "begun"
        return path.read_text().count("begun") if path.exists() else 0

    def press(self):
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def says(self, text):
        """Wait until the log has this text."""
        wait_until(lambda: text in self.log.read_text(), 90)

    def ended(self):
        """Wait until it has ended, and see that it did so in peace."""
        assert self.process.wait(90) == 0
        assert "Traceback" not in self.log.read_text()


@pytest.fixture
def serve(tmp_path):
    """Start servers, one after the other."""
    servers = []

    def start(*args, **options):
        servers.append(Server(tmp_path, *args, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.process.kill()
        server.process.wait()


@pytest.mark.parametrize("keeper", ["zodb", "memory"])
def test_a_second_ctrl_c_stops_at_once_as_the_first_has_said(serve, keeper):
    server = serve(keeper)
    server.ask("/start")
    wait_until(lambda: server.begun)
    server.press()
    server.says(
        "INFO Waiting up to 600 s for 1 running job to end; press Ctrl-C again"
        " to stop now."
    )
    server.press()
    server.ended()

    server.says("WARNING The engine stopped with jobs that have not ended: ")


def test_what_a_second_ctrl_c_has_left_is_run_by_the_next_server(serve):
    server = serve()
    sid = server.ask("/start")["sid"]
    wait_until(lambda: server.begun)
    server.press()
    server.says("Ctrl-C again")
    server.press()
    server.ended()
    (server.folder / "leave").touch()
    server = serve()
    wait_until(lambda: server.ask(f"/jobs/{sid}")["state"] == "succeeded", 90)

    assert server.begun == 2


def test_a_job_that_ends_in_time_is_waited_for(serve):
    server = serve()
    sid = server.ask("/start")["sid"]
    wait_until(lambda: server.begun)
    server.press()
    server.says("Ctrl-C again")
    (server.folder / "leave").touch()
    server.ended()
    assert "have not ended" not in server.log.read_text()

    assert serve().ask(f"/jobs/{sid}")["state"] == "succeeded"


def test_a_server_without_jobs_stops_at_the_first_ctrl_c(serve):
    server = serve()
    server.press()
    server.ended()

    assert "Ctrl-C again" not in server.log.read_text()
