"""A browser, and the demo on a server of its own."""

import contextlib
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent

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


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)


def missing(reason):
    """Skip on a developer's machine, but let no CI go green for that."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"CI needs a browser: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed: pip install playwright")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        missing("there is no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    """Open a page in which no error may pass unseen."""
    context = browser.new_context()
    page = context.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert errors == []


class Server:
    """The demo as pserve serves it, which can be killed and restarted."""

    def __init__(self, folder, **settings):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
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
        deadline = time.monotonic() + 30
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


@pytest.fixture
def make_server(tmp_path_factory):
    servers = []

    def make(**settings):
        server = Server(tmp_path_factory.mktemp("demo"), **settings)
        servers.append(server)
        server.start()
        return server

    yield make
    for server in servers:
        server.kill()


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """Serve the demo, and give its URL."""
    server = Server(tmp_path_factory.mktemp("demo"))
    server.start()
    yield server.url
    server.kill()


COMMON = re.findall(
    r"\w+",
    "the of and a to in he was that his it with is for as had you not be her"
    " on at by which have or from this him but all she they were my are me"
    " one their so an said them we who would been will no when there if more"
    " out up into do any your what has man could other than our some very"
    " time upon about may its only now like little then can should made",
)
SYLLABLES = re.findall(
    r"\w+", "ka lo mi ter ven sol ran del qui no bar est our ing al"
)


@pytest.fixture(scope="session")
def novel(tmp_path_factory):
    """Write a text of one megabyte, the same every time."""
    chance = random.Random(1)
    rare = [
        "".join(chance.choices(SYLLABLES, k=chance.randint(2, 4)))
        for _ in range(5000)
    ]
    sentences, size = [], 0
    while size < 1_000_000:
        words = [
            chance.choice(rare)
            if chance.random() < 0.35
            else COMMON[int(len(COMMON) * chance.random() ** 3)]
            for _ in range(chance.randint(4, 20))
        ]
        sentences.append(" ".join(words).capitalize() + ".")
        size += len(sentences[-1]) + 1
    path = tmp_path_factory.mktemp("texts") / "novel.txt"
    path.write_text("\n".join(sentences))
    return path


@pytest.fixture(scope="session")
def picture(tmp_path_factory):
    """Write a file that is no text."""
    path = tmp_path_factory.mktemp("texts") / "holiday.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)) * 9)
    return path
