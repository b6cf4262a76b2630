"""Waiting for a job to change."""

import threading
import time

import pytest

from pyramid_zodb_async import Version
from pyramid_zodb_async.scheduler import waiters
from pyramid_zodb_async.scheduler.waiters import PROGRESS_PACE, Watches


@pytest.fixture
def watches():
    return Watches()


def test_a_change_wakes_who_waits_for_the_job(watches):
    watch = watches.on(["a", "b"])
    threading.Timer(0.05, watches.tell, ["b"]).start()

    assert watch.wait(60)


def test_a_change_before_the_wait_is_not_missed(watches):
    watch = watches.on(["a"])
    watches.tell("a")

    assert watch.wait(0)


def test_a_change_of_another_job_wakes_nobody(watches):
    watch = watches.on(["a"])
    watches.tell("b")

    assert not watch.wait(0.01)


def test_progress_ends_a_wait_no_sooner_than_after_half_a_second(watches):
    watch = watches.on(["a"])
    watches.tell("a", is_progress=True)
    begin = time.monotonic()

    assert watch.wait(60)
    assert PROGRESS_PACE <= time.monotonic() - begin < 30


def test_the_end_of_a_job_does_not_wait_for_the_pace_of_its_progress(
    watches, monkeypatch
):
    monkeypatch.setattr(waiters, "PROGRESS_PACE", 60)
    watch = watches.on(["a"])
    watches.tell("a", is_progress=True)
    watches.tell("a")
    begin = time.monotonic()

    assert watch.wait(60)
    assert time.monotonic() - begin < 30


def test_a_wait_in_slices_keeps_the_pace(watches):
    """Else the second wait would be over before it counts the progress."""
    watch = watches.on(["a"])
    assert not watch.wait(0.4)
    watches.tell("a", is_progress=True)

    assert watch.wait(0.4)


def test_a_closed_watch_leaves_nothing_behind(watches):
    one, other = watches.on(["a", "b"]), watches.on(["b"])
    one.close()
    assert watches.sids() == ["b"]
    assert watches
    other.close()
    other.close()

    assert watches.sids() == []
    assert not watches


@pytest.mark.parametrize(
    ("seen", "now", "is_woken"),
    [
        (Version(0), Version(0), False),
        (Version(0), Version(0, starts=1), False),
        (Version(0), Version(0, done=True), True),
        (Version(0), Version(1), True),
        (Version(0), None, True),
        (Version(1, progress=3), Version(1, progress=2), False),
        (Version(1), Version(0, progress=2), False),
        (None, Version(0, done=True), False),
    ],
)
def test_who_has_seen_as_much_is_not_woken(watches, seen, now, is_woken):
    watch = watches.on(["a"])
    watch.seen = {} if seen is None else {"a": seen}
    watches.compare("a", now)

    assert watch.wait(0) == is_woken


def test_progress_that_was_found_elsewhere_keeps_the_pace(watches):
    watch = watches.on(["a"])
    watch.seen = {"a": Version(0)}
    watches.compare("a", Version(0, progress=1))
    begin = time.monotonic()

    assert watch.wait(60)
    assert time.monotonic() - begin >= PROGRESS_PACE * 0.9
