"""Waiting for a job to change."""

import threading
import time

import pytest

from pyramid_zodb_async.jobs.model import make_version
from pyramid_zodb_async.scheduler import waiters as module
from pyramid_zodb_async.scheduler.waiters import PROGRESS_PACE, Waiters


@pytest.fixture
def waiters():
    return Waiters()


def test_a_change_wakes_who_waits_for_the_job(waiters):
    waiter = waiters.add(["a", "b"])
    threading.Timer(0.05, waiters.wake, ["b"]).start()

    assert waiter.wait(60)


def test_a_change_before_the_wait_is_not_missed(waiters):
    waiter = waiters.add(["a"])
    waiters.wake("a")

    assert waiter.wait(0)


def test_a_change_of_another_job_wakes_nobody(waiters):
    waiter = waiters.add(["a"])
    waiters.wake("b")

    assert not waiter.wait(0.01)


def test_progress_ends_a_wait_no_sooner_than_after_half_a_second(waiters):
    waiter = waiters.add(["a"])
    waiters.wake("a", is_progress=True)
    begin = time.monotonic()

    assert waiter.wait(60)
    assert PROGRESS_PACE <= time.monotonic() - begin < 30


def test_the_end_of_a_job_does_not_wait_for_the_pace_of_its_progress(
    waiters, monkeypatch
):
    monkeypatch.setattr(module, "PROGRESS_PACE", 60)
    waiter = waiters.add(["a"])
    waiters.wake("a", is_progress=True)
    waiters.wake("a")
    begin = time.monotonic()

    assert waiter.wait(60)
    assert time.monotonic() - begin < 30


def test_a_wait_in_slices_keeps_the_pace(waiters):
    """Else the second wait would be over before it counts the progress."""
    waiter = waiters.add(["a"])
    assert not waiter.wait(0.4)
    waiters.wake("a", is_progress=True)

    assert waiter.wait(0.4)


def test_a_closed_watch_leaves_nothing_behind(waiters):
    one, other = waiters.add(["a", "b"]), waiters.add(["b"])
    one.close()
    assert waiters.sids() == ["b"]
    assert waiters
    other.close()
    other.close()

    assert waiters.sids() == []
    assert not waiters


@pytest.mark.parametrize(
    ("seen", "now", "is_woken"),
    [
        (make_version(0), make_version(0), False),
        (make_version(0), make_version(0, done=True), True),
        (make_version(0, changes=9), make_version(0, done=True), True),
        (make_version(0, done=True), make_version(1), True),
        (make_version(0, changes=9), make_version(1), True),
        (make_version(0), None, True),
        (make_version(1, changes=3), make_version(1, changes=2), False),
        (make_version(1), make_version(0, changes=2), False),
        (make_version(1), make_version(0, done=True), False),
        (None, make_version(0, done=True), False),
    ],
)
def test_who_has_seen_as_much_is_not_woken(waiters, seen, now, is_woken):
    waiter = waiters.add(["a"])
    waiter.seen = {} if seen is None else {"a": seen}
    waiters.compare("a", now)

    assert waiter.wait(0) == is_woken


def test_progress_that_was_found_elsewhere_keeps_the_pace(waiters):
    waiter = waiters.add(["a"])
    waiter.seen = {"a": make_version(0)}
    waiters.compare("a", make_version(0, changes=1))
    begin = time.monotonic()

    assert waiter.wait(60)
    assert time.monotonic() - begin >= PROGRESS_PACE * 0.9
