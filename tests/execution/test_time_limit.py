"""Blocks of code that take too long are noticed."""

import datetime
import threading
import time

import pytest
import shop
from exhausted import no_new_threads
from shop import wait_until

from pyramid_zodb_async.execution import time_limit
from pyramid_zodb_async.execution.time_limit import Watchdog


def watchdogs():
    return [
        thread
        for thread in threading.enumerate()
        if thread.name == "zodb_async-watchdog"
    ]


def test_a_block_that_takes_too_long_is_told_of_while_it_goes_on():
    barked = threading.Event()
    begin = time.monotonic()
    with Watchdog().limit(0.2, barked.set):
        assert barked.wait(shop.PATIENCE)

    assert time.monotonic() - begin >= 0.2


def test_a_block_that_ends_in_time_is_not_told_of():
    dog = Watchdog()

    def is_quiet():
        barks, second = [], threading.Event()
        with dog.limit(0.1, lambda: barks.append("first")):
            pass
        with dog.limit(0.3, second.set):
            assert second.wait(shop.PATIENCE)
        return barks == []

    shop.at_last(is_quiet)


def test_blocks_are_told_of_in_the_order_of_their_ends():
    dog = Watchdog()

    def are_in_order():
        barks, all_told = [], threading.Event()
        with (
            dog.limit(0.3, all_told.set),
            dog.limit(0.2, lambda: barks.append("second")),
            dog.limit(0.1, lambda: barks.append("first")),
        ):
            assert all_told.wait(shop.PATIENCE)
        return barks == ["first", "second"]

    shop.at_last(are_in_order)


def test_what_fails_is_logged_and_others_are_told_of_all_the_same(caplog):
    barked = threading.Event()
    dog = Watchdog()
    with dog.limit(0.05, lambda: 1 / 0), dog.limit(0.1, barked.set):
        assert barked.wait(shop.PATIENCE)
        wait_until(lambda: caplog.records)

    (record,) = caplog.records
    assert record.action == "watchdog_failed"


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_nothing_that_is_raised_ends_the_watch(error):
    def fail():
        raise error

    barked, dog = threading.Event(), Watchdog()
    with dog.limit(0.05, fail), dog.limit(0.1, barked.set):
        assert barked.wait(shop.PATIENCE)


def test_its_thread_ends_when_there_is_nothing_to_watch(monkeypatch):
    monkeypatch.setattr(time_limit, "IDLE", 0.05)
    dog = Watchdog()
    with dog.limit(3, pytest.fail):
        thread = dog._thread
        assert thread in watchdogs()
    wait_until(lambda: not thread.is_alive())
    barked = threading.Event()
    with dog.limit(0.05, barked.set):
        assert barked.wait(shop.PATIENCE)


def test_a_thread_that_cannot_be_started_is_tried_again(caplog):
    dog = Watchdog()
    with no_new_threads(), dog.limit(30, pytest.fail):
        pass
    (record,) = caplog.records
    assert record.action == "watchdog_not_started"
    barked = threading.Event()
    with dog.limit(0.05, barked.set):
        assert barked.wait(shop.PATIENCE)


def test_a_limit_longer_than_a_lock_can_wait_harms_no_other():
    dog, barked = Watchdog(), threading.Event()
    with dog.limit(datetime.timedelta.max.total_seconds(), pytest.fail):
        thread = dog._thread
        with dog.limit(0.05, barked.set):
            assert barked.wait(shop.PATIENCE)
        assert dog._thread is thread


def test_many_threads_may_be_watched_at_the_same_time():
    dog, barks = Watchdog(), []

    def work(number):
        for _ in range(50):
            with dog.limit(30, pytest.fail):
                pass
        enough = threading.Event()

        def bark():
            barks.append(number)
            enough.set()

        with dog.limit(0.05, bark):
            assert enough.wait(shop.PATIENCE)
        return number

    answers = [shop.Answer(work, number + 1) for number in range(20)]

    assert sorted(answer.get() for answer in answers) == sorted(barks)
    assert len(barks) == 20
