"""Threads that are started, and those that cannot be."""

import logging
import threading

from exhausted import no_new_threads

from pyramid_zodb_async.concurrency.threads import start_thread


def start(target, *args):
    return start_thread(
        "test", target, args, action="test_not_started", missing="No test."
    )


def test_a_thread_does_what_it_was_started_for_and_lets_the_process_end():
    seen = []

    def look(argument):
        thread = threading.current_thread()
        seen.append((argument, thread.name, thread.daemon))

    thread = start(look, "argument")
    thread.join(60)

    assert seen == [("argument", "zodb_async-test", True)]


def test_a_thread_that_cannot_be_started_is_logged_and_told(caplog):
    seen = []
    with no_new_threads():
        assert start(seen.append, "argument") is None

    (record,) = caplog.records
    assert record.action == "test_not_started"
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "No test."
    assert "can't start new thread" in caplog.text
    assert seen == []
