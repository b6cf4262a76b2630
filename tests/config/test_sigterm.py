"""SIGTERM stops a server in order, if that is wanted."""

import functools
import logging
import os
import signal
import subprocess
import sys
import threading

import pytest
import shop
from folders import PYTHONPATH, TESTS
from shop import wait_until
from slow_server import SlowServer

from pyramid_zodb_async.concurrency import exits
from pyramid_zodb_async.config import sigterm
from pyramid_zodb_async.config.sigterm import stop_on_sigterm


@pytest.fixture(autouse=True)
def _keep_handler():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


class End(list):
    """What happens in the end, of which this process is spared."""

    def __init__(self):
        super().__init__()
        self._is_spared = threading.Event()

    def spare(self):
        """Note the end of the process in place of it."""
        signal.signal(signal.SIGTERM, lambda *_: self.append("end"))
        self._is_spared.set()

    def end_jobs(self):
        """Do what is registered for the end, but not too early."""
        assert self._is_spared.wait(60)
        self.append("jobs")


@pytest.fixture
def happened(monkeypatch):
    """List what happens in the end."""
    events = End()
    monkeypatch.setattr(sigterm, "PATIENCE", 0.01)
    # what other tests have left running stays so
    monkeypatch.setattr(exits, "_exits", {})
    monkeypatch.setattr(exits, "_exiting", threading.Event())
    exits.call_at_exit(events.end_jobs)
    yield events
    exits.forget_at_exit(events.end_jobs)


def test_a_server_that_goes_on_is_ended_after_its_jobs(happened, caplog):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    stop_on_sigterm()
    with pytest.raises(SystemExit) as caught:
        signal.raise_signal(signal.SIGTERM)
    # a second one would end the process at once
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    happened.spare()
    wait_until(lambda: "end" in happened)

    assert not caught.value.code
    assert happened == ["jobs", "end"]
    assert caplog.records[-1].action == "server_ended"


def test_a_process_that_ends_already_goes_on_with_that(happened):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    stop_on_sigterm()

    def get_signal():
        signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        happened.spare()

    exits.call_at_exit(get_signal)
    exits.call_exits()  # its jobs are last, and are not left out

    assert happened == ["jobs"]


@pytest.fixture
def _main_has_ended(monkeypatch):
    """Have the main thread be one that has ended."""
    ended = threading.Thread(target=int)
    ended.start()
    ended.join()
    monkeypatch.setattr(threading, "main_thread", lambda: ended)


@pytest.mark.usefixtures("_main_has_ended")
def test_a_process_that_lasts_after_its_main_thread_is_ended(happened, caplog):
    happened.spare()
    sigterm._see_to_the_end()
    wait_until(lambda: "end" in happened)

    assert happened == ["jobs", "end"]
    (record,) = caplog.records
    assert record.action == "server_ended"
    assert "no daemons go on (MainThread" in record.getMessage()


@pytest.mark.usefixtures("_main_has_ended")
def test_nothing_is_done_about_a_process_that_ends(monkeypatch, happened):
    monkeypatch.setattr(threading, "enumerate", list)
    sigterm._see_to_the_end()

    assert happened == []


def test_a_child_gets_the_handler_of_before():
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    stop_on_sigterm()
    sigterm._leave_to_child()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    def handle_exit(signum, frame):
        """Handle it."""

    handle_exit.__module__ = "uvicorn.server"
    signal.signal(signal.SIGTERM, handle_exit)
    stop_on_sigterm()
    assert signal.getsignal(signal.SIGTERM) is not handle_exit
    sigterm._leave_to_child()
    assert signal.getsignal(signal.SIGTERM) is handle_exit
    sigterm._leave_to_child()  # there is nothing to take away
    assert signal.getsignal(signal.SIGTERM) is handle_exit


def end_of(what):
    """Have a process get the signal; give how it ends and what it says."""
    ended = subprocess.run(
        [sys.executable, TESTS / "scripts" / "terminated.py", what],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
        text=True,
        check=False,
        timeout=60,
    )
    return ended.returncode, ended.stdout.splitlines()


def test_a_thread_that_does_not_end_keeps_no_process_and_is_named():
    code, said = end_of("endless")

    assert code == -signal.SIGTERM
    assert said[0] == "the jobs have ended"
    assert "threads that are no daemons go on (of-application)" in said[1]


def test_a_thread_that_ends_is_waited_for():
    assert end_of("ending") == (0, ["the jobs have ended"])


def test_what_is_registered_for_the_end_may_take_its_time():
    said = ["the jobs have ended", "the rest has ended"]

    assert end_of("slow") == (0, said)


def test_a_forked_child_ends_by_the_signal_as_ever():
    assert end_of("child") == (0, ["the child has ended by -15"])


def test_a_forked_child_ends_by_a_signal_that_comes_at_once():
    assert end_of("children") == (0, ["50 children have ended by -15"])


# Python 3.12 warns of threads, which other tests may have left
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("blocked", [set(), {signal.SIGTERM}])
def test_a_fork_leaves_the_signal_to_its_thread_as_it_was(blocked):
    stop_on_sigterm()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    try:
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
        after = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    assert after == before | blocked


class Server:
    """Something whose method handles signals."""

    def handle_exit(self, signum, frame):
        """Handle it."""


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (Server().handle_exit, f"by {__name__}.Server.handle_exit, so"),
        (functools.partial(int), "by functools.partial, so"),
        (signal.SIG_IGN, "by the server, and not by Python, so"),
    ],
)
def test_who_handles_the_signal_already_goes_on_to_do_so(
    handler, said, caplog
):
    caplog.set_level(logging.INFO)
    signal.signal(signal.SIGTERM, handler)
    stop_on_sigterm()
    (record,) = caplog.records

    assert signal.getsignal(signal.SIGTERM) == handler
    assert record.action == "sigterm_handled_by_another"
    assert said in record.getMessage()


def test_a_second_application_finds_nothing_to_say(caplog):
    caplog.set_level(logging.INFO)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    stop_on_sigterm()
    stop_on_sigterm()

    assert caplog.records == []


def test_a_server_that_raises_it_again_lets_the_process_end_in_order(
    monkeypatch,
):
    """Uvicorn puts the handler of before back, and raises what it has got."""
    captured = []

    def handle_exit(signum, frame):
        captured.append(signum)

    handle_exit.__module__ = "uvicorn.server"
    signal.signal(signal.SIGTERM, handle_exit)
    stop_on_sigterm()
    stop_on_sigterm()  # a second application
    signal.raise_signal(signal.SIGTERM)
    assert captured == [signal.SIGTERM]
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.raise_signal(signal.SIGTERM)  # would end this process
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


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


@pytest.mark.parametrize(
    ("setting", "code", "effects"),
    [("true", 0, ["done"]), ("false", -signal.SIGTERM, [])],
)
def test_pserve_waits_for_its_jobs_if_it_is_told_to(
    tmp_path, setting, code, effects
):
    served = SlowServer(
        tmp_path, zodb_async__stop_on_sigterm=setting, zodb_async__grace=60
    )
    try:
        served.start_job()
        served.process.terminate()
        if effects:
            served.says("running job to end")
            served.let_jobs_go()
        assert served.ended() == code
    finally:
        served.kill()

    assert served.effects() == effects
