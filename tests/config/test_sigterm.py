"""SIGTERM stops a server in order, if that is wanted."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest
import shop
from folders import PYTHONPATH, SUPPORT
from ports import free_port
from shop import wait_until
from ZODB.DB import DB
from ZODB.FileStorage import FileStorage

from pyramid_zodb_async.config import sigterm
from pyramid_zodb_async.config.sigterm import stop_on_sigterm


@pytest.fixture(autouse=True)
def _keep_handler():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_the_signal_ends_the_main_thread_as_an_exit_does():
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    stop_on_sigterm()
    with pytest.raises(SystemExit) as caught:
        signal.raise_signal(signal.SIGTERM)

    assert caught.value.code == 0


def test_a_second_signal_ends_the_process_at_once():
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    stop_on_sigterm()
    with pytest.raises(SystemExit):
        signal.raise_signal(signal.SIGTERM)

    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_who_handles_the_signal_already_goes_on_to_do_so():
    def handle(signum, frame):
        """Handle it."""

    signal.signal(signal.SIGTERM, handle)
    stop_on_sigterm()

    assert signal.getsignal(signal.SIGTERM) is handle


def test_another_thread_is_told_that_it_cannot_do_it(caplog):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    thread = threading.Thread(target=stop_on_sigterm)
    thread.start()
    thread.join()

    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    (record,) = caplog.records
    assert record.action == "sigterm_not_handled"
    assert "zodb_async.stop_on_sigterm" in record.getMessage()


@pytest.mark.parametrize(("value", "is_asked"), [("true", 1), ("false", 0)])
def test_an_application_does_it_if_its_setting_says_so(
    make_app, monkeypatch, value, is_asked
):
    asked = []
    monkeypatch.setattr(
        "pyramid_zodb_async.config.startup.stop_on_sigterm",
        lambda: asked.append(1),
    )
    app = make_app(zodb_async__stop_on_sigterm=value)
    shop.shut_down(app.app.registry)

    assert len(asked) == is_asked
    assert sigterm.stop_on_sigterm is stop_on_sigterm


INI = """\
[app:main]
use = call:slow_app:main
zodbconn.uri = file://{folder}/Data.fs?connection_pool_size=10
zodb_async.stop_on_sigterm = {setting}
zodb_async.grace = 60
go = {folder}/go

[server:main]
use = egg:waitress#main
listen = 127.0.0.1:{port}
"""


class Served:
    """An application that pserve serves in a process of its own."""

    def __init__(self, folder, setting):
        self._port = free_port()
        self._folder = folder
        ini = folder / "served.ini"
        ini.write_text(
            INI.format(folder=folder, setting=setting, port=self._port)
        )
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pyramid.scripts.pserve", ini],
                cwd=SUPPORT,
                env={**os.environ, "PYTHONPATH": PYTHONPATH},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def ask(self, path):
        """Give the answer when there is one."""
        deadline = time.monotonic() + 90
        while True:
            try:
                url = f"http://127.0.0.1:{self._port}{path}"
                with urllib.request.urlopen(url, timeout=60) as answer:
                    return json.load(answer)
            except urllib.error.URLError:
                assert self.process.poll() is None, self._log.read_text()
                assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.05)  # paces the loop; the condition decides

    def log(self):
        return self._log.read_text()

    def effects(self):
        """Tell what its jobs have left, when it has ended."""
        db = DB(FileStorage(str(self._folder / "Data.fs")))
        with db.transaction() as connection:
            found = list(connection.root().get("history", ()))
        db.close()
        return found


@pytest.mark.parametrize(
    ("setting", "code", "effects"),
    [("true", 0, ["done"]), ("false", -signal.SIGTERM, [])],
)
def test_pserve_waits_for_its_jobs_if_it_is_told_to(
    tmp_path, setting, code, effects
):
    served = Served(tmp_path, setting)
    try:
        sid = served.ask("/start")["sid"]
        wait_until(lambda: served.ask(f"/jobs/{sid}")["state"] == "running")
        served.process.terminate()
        if effects:
            wait_until(lambda: "running jobs to end" in served.log())
            (tmp_path / "go").touch()
        assert served.process.wait(90) == code
    finally:
        served.process.kill()
        served.process.wait()

    assert served.effects() == effects
