"""Loggers whose calls never raise."""

import asyncio
import io
import logging
import sys
import threading

import pytest

from pyramid_zodb_async.concurrency.loggers import get_logger


class Raising(logging.Handler):
    """Raises what it is told."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def emit(self, record):
        raise self.error


@pytest.fixture
def log():
    return get_logger("pyramid_zodb_async.test")


@pytest.fixture
def have_raise(log):
    """Have the logger's handler raise."""
    added = []

    def begin(error):
        added.append(Raising(error))
        log.logger.addHandler(added[-1])

    yield begin
    for handler in added:
        log.logger.removeHandler(handler)


def in_thread(function):
    """Call a function on another thread; tell whether it has returned."""
    returned = []

    def work():
        function()
        returned.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    return returned == [True]


def test_a_record_tells_where_the_logger_was_called(log, caplog):
    log.warning("%s and %s", "one", "two", extra={"action": "tested"})

    (record,) = caplog.records
    assert record.name == "pyramid_zodb_async.test"
    assert record.getMessage() == "one and two"
    assert record.action == "tested"
    assert record.pathname == __file__
    assert record.funcName == (
        test_a_record_tells_where_the_logger_was_called.__name__
    )


def test_a_logger_is_as_its_level_says(log, caplog):
    with caplog.at_level(logging.WARNING, logger=log.name):
        log.info("too low")
        log.error("high enough")

    assert caplog.messages == ["high enough"]


def test_what_is_not_logged_is_on_the_error_stream(log, have_raise, capsys):
    have_raise(LookupError("no receiver"))
    try:
        raise ValueError("of the job")
    except ValueError:
        log.exception("Job %s failed.", "sid")

    written = capsys.readouterr().err
    assert "Not logged: Job sid failed." in written
    assert "LookupError: no receiver" in written
    assert "ValueError: of the job" in written


class Untold(Exception):
    """Has no text."""

    def __str__(self):
        raise RuntimeError("no text")


def test_values_without_a_text_do_not_raise_either(log, have_raise, capsys):
    have_raise(Untold())
    log.error("%s", Untold())

    assert "Untold" in capsys.readouterr().err


def test_an_error_stream_that_is_gone_is_not_missed(
    log, have_raise, monkeypatch
):
    have_raise(LookupError("no receiver"))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", None)
        log.error("not to be seen")
        closed = io.StringIO()
        closed.close()
        patch.setattr(sys, "stderr", closed)
        log.error("not to be seen")


def test_logging_may_be_told_to_be_silent_about_errors(
    log, have_raise, monkeypatch, capsys
):
    have_raise(LookupError("no receiver"))
    monkeypatch.setattr(logging, "raiseExceptions", False)
    log.error("not to be seen")

    assert capsys.readouterr().err == ""


class Killed(BaseException):
    """Ends a thread, as exceptions of libraries for green threads do."""

    def __str__(self):
        raise Killed


@pytest.mark.parametrize(
    "kind", [SystemExit, KeyboardInterrupt, asyncio.CancelledError, Killed]
)
def test_only_the_main_thread_is_ended_by_a_log(log, have_raise, kind):
    have_raise(kind("enough"))

    assert in_thread(lambda: log.error("on another thread: %s", kind("told")))
    with pytest.raises(kind):
        log.error("on the main thread")
