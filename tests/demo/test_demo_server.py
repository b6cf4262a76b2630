"""The first minutes with the demo, at a terminal."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys

import pytest
from folders import REPOSITORY
from needed import missing
from ports import free_port, wait_for_server
from shop import wait_until
from slow_server import end_of

INI = """\
[app:main]
use = config:{repository}/development.ini
zodbconn.uri = file://{folder}/Data.fs?connection_pool_size=10
text_analyser.folder = {folder}

[server:main]
use = egg:waitress#main
listen = localhost:6543

"""


class Terminal:
    """Where somebody serves the demo."""

    def __init__(self, folder, name="log", listen=None, texts=None):
        self.port = free_port()
        listen = listen or f"127.0.0.1:{self.port}"
        self.log = folder / name
        ini = folder / f"{name}.ini"
        values = {"repository": REPOSITORY, "folder": texts or folder}
        demo = (REPOSITORY / "development.ini").read_text()
        loggers = demo[demo.index("[loggers]") :]
        ini.write_text(INI.format(**values) + loggers)
        serve = (
            "from demo_app.__main__ import main;"
            f" main({listen!r}, ini={str(ini)!r})"
        )
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", serve],
                cwd=REPOSITORY,
                env={**os.environ, "PYTHONFAULTHANDLER": "1"},
                stdout=log,
                stderr=log,
            )

    def wait(self):
        """Wait until it is served."""
        wait_for_server(self.process, self.port, self.log)

    def listens(self):
        """Whether it takes connections, if not requests."""
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port)).close()
            return True
        return False

    def ends(self, code):
        """Wait for its end, and give what it said, which is no traceback."""
        assert end_of(self.process, self.log) == code
        said = self.log.read_text()
        assert "Traceback" not in said
        return said

    def press(self):
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def says(self, text):
        """Wait until it says so."""
        wait_until(lambda: text in self.log.read_text(), 90)

    def curl(self, *arguments):
        """Ask it, and give the answer."""
        command = ["curl", "-sS", *arguments]
        try:
            ran = subprocess.run(
                command, capture_output=True, text=True, check=True
            )
        except FileNotFoundError:
            missing("there is no curl: apt-get install curl")
        return ran.stdout

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def serve(tmp_path):
    """Serve the demo, at one terminal or several."""
    terminals = []

    def start(**options):
        name = f"log{len(terminals)}"
        terminals.append(Terminal(tmp_path, name, **options))
        return terminals[-1]

    yield start
    for terminal in terminals:
        terminal.process.kill()
        terminal.process.wait()


def test_a_port_that_is_taken_is_told_in_a_sentence(serve):
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        said = serve(listen=f"127.0.0.1:{port}").ends(1)

    assert f"Something is being served at 127.0.0.1:{port} already" in said
    assert f"make demo LISTEN=127.0.0.1:{port + 1}" in said


def test_an_address_of_another_machine_is_told_in_a_sentence(serve):
    said = serve(listen="192.0.2.1:6544").ends(1)

    assert said.startswith("The demo cannot be served at 192.0.2.1:6544: ")
    assert "make demo LISTEN=localhost:6544" in said


@pytest.mark.parametrize(
    ("host", "shown"), [("*", "localhost"), ("[::1]", "[::1]")]
)
def test_the_demo_says_where_a_browser_finds_it(serve, host, shown):
    port = free_port()
    demo = serve(listen=f"{host}:{port}")
    if host == "[::1]" and not has_ipv6():
        assert "The demo cannot be served at [::1]" in demo.ends(1)
    else:
        demo.says(f"The demo is at http://{shown}:{port}/ now.")


def has_ipv6():
    with (
        contextlib.suppress(OSError),
        socket.create_server(("::1", 0), family=socket.AF_INET6),
    ):
        return True
    return False


def test_a_folder_that_cannot_be_written_to_is_told_in_a_sentence(
    serve, tmp_path
):
    (tmp_path / "file").touch()
    said = serve(texts=tmp_path / "file").ends(1)

    assert "The demo cannot write where it keeps its texts: " in said
    assert str(tmp_path / "file") in said


@pytest.mark.parametrize("name", ["c#", "100%", "what?"])
def test_a_folder_that_cannot_be_in_settings_is_told_in_a_sentence(
    name, tmp_path
):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "demo_app").symlink_to(REPOSITORY / "demo_app")
    (folder / "development.ini").symlink_to(REPOSITORY / "development.ini")
    ran = subprocess.run(
        [sys.executable, "-m", "demo_app"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )

    assert ran.returncode == 1
    assert f"a folder with {name[-1]} in its path, {folder}:" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_database_that_is_in_use_is_told_in_a_sentence(serve):
    serve().wait()
    said = serve().ends(1)

    assert "The database of the demo is in use." in said
    assert "stop it there by Ctrl-C" in said


@pytest.mark.parametrize(
    "listen",
    [
        "localhost:demo",
        "localhost",
        "localhost:",
        "6544",
        ":6544",
        "localhost:0",
        "localhost:65536",
        "localhost:6544 localhost:6545",
        "http://localhost:6544",
        "nowhere.invalid:6544",
    ],
)
def test_an_address_that_is_none_is_told_in_a_sentence(listen):
    ran = subprocess.run(
        [sys.executable, "-m", "demo_app", *listen.split()],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )

    assert ran.returncode == 1
    assert ran.stderr.startswith(f"{listen} is no address to listen at.")


def test_the_second_start_is_as_quiet_as_the_first(serve):
    for _ in range(2):
        demo = serve()
        demo.says("now. Ctrl-C stops it.")
        demo.press()
        assert "WARN" not in demo.ends(0)


def test_a_ctrl_c_while_the_demo_starts_is_no_traceback(serve):
    demo = serve()
    wait_until(demo.listens, 90)
    demo.press()
    demo.process.wait(90)

    assert "Traceback" not in demo.log.read_text()


def test_the_demo_stops_at_the_first_ctrl_c(serve):
    demo = serve()
    demo.says(f"The demo is at http://127.0.0.1:{demo.port}/ now.")
    demo.press()

    assert "Press Ctrl-C again to stop now." in demo.ends(0)


@pytest.mark.parametrize("is_open", [False, True], ids=["", "open page"])
def test_a_second_ctrl_c_stops_the_demo_at_once(serve, is_open):
    demo = serve()
    demo.wait()
    bearer = ("-H", f"Authorization: Bearer {token_for('ada')}")
    text = demo.log.with_suffix(".txt")
    text.write_text("Tiger, tiger, burning bright\n" * 200_000)
    answer = demo.curl(*bearer, "-F", f"file=@{text}", f"{demo.url}/texts")
    job = f"{demo.url}/jobs/{json.loads(answer)['sid']}"
    wait_until(lambda: '"running"' in demo.curl(*bearer, job))
    page = None
    if is_open:
        page = subprocess.Popen(
            ["curl", "-sS", *bearer, "-H", "Prefer: wait=10", job],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    demo.press()
    demo.says("Press Ctrl-C again to stop now.")
    demo.press()
    said = demo.ends(0)
    if page:
        page.wait(90)

    assert "jobs that have not ended" in said


def token_for(userid):
    """Give the token of a program, as the page does."""
    from demo_app.login import LoginPolicy

    return LoginPolicy("only for development").token(userid)


def test_curl_of_the_demo_says_what_it_is_and_where_tokens_are(serve):
    demo = serve()
    demo.wait()
    problem = json.loads(demo.curl(f"{demo.url}/"))

    assert problem["status"] == 401
    assert "a demo of pyramid_zodb_async: background jobs" in problem["detail"]
    assert f"log in at {demo.url}/ with a browser" in problem["detail"]
