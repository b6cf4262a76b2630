"""The thread that looks after jobs."""

import threading

import pytest
from exhausted import no_new_threads

from pyramid_zodb_async.scheduler.maintenance import thread
from pyramid_zodb_async.scheduler.maintenance.thread import Chore, Housekeeper


def test_chores_are_done_at_once_and_again_and_again():
    done = []
    enough = threading.Event()

    def chore():
        done.append(threading.current_thread().name)
        if len(done) == 3:
            enough.set()

    chores = [Chore(chore, 0.01)]
    housekeeper = Housekeeper()
    assert housekeeper.start(chores)
    assert housekeeper.start(chores)
    assert enough.wait(60)
    housekeeper.stop()
    housekeeper.stop()

    assert set(done) == {"zodb_async-housekeeper"}


def test_a_chore_that_fails_is_told_and_keeps_none_from_being_done(caplog):
    done = threading.Event()
    housekeeper = Housekeeper()
    housekeeper.start([Chore(lambda: 1 / 0, 60), Chore(done.set, 60)])
    assert done.wait(60)
    housekeeper.stop()

    assert "will be tried again in 60 s" in caplog.text


def test_it_stops_between_two_chores():
    entered, leave, after = (threading.Event() for _ in range(3))

    def chore():
        entered.set()
        leave.wait(60)

    housekeeper = Housekeeper()
    housekeeper.start([Chore(chore, 60), Chore(after.set, 60)])
    assert entered.wait(60)
    stopping = threading.Thread(target=housekeeper.stop)
    stopping.start()
    leave.set()
    stopping.join(60)

    assert not after.is_set()


def test_other_chores_take_the_place_of_those_that_it_does():
    threads, done, after = [], threading.Event(), threading.Event()

    def first():
        threads.append(threading.current_thread())
        done.set()

    def second():
        threads.append(threading.current_thread())
        after.set()

    housekeeper = Housekeeper()
    housekeeper.start([Chore(first, 3600)])
    assert done.wait(60)
    # needs no other thread
    with no_new_threads():
        assert housekeeper.start([Chore(second, 3600)])
    assert after.wait(60)
    housekeeper.stop()

    assert len(threads) == 2
    assert len(set(threads)) == 1


def test_a_thread_that_cannot_be_started_is_told_and_tried_again(caplog):
    done = threading.Event()
    housekeeper = Housekeeper()
    with no_new_threads():
        assert not housekeeper.start([Chore(done.set, 60)])
    (record,) = caplog.records
    assert record.action == "housekeeper_not_started"
    housekeeper.stop()
    assert housekeeper.start([Chore(done.set, 60)])
    assert done.wait(60)
    housekeeper.stop()


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_nothing_that_a_chore_raises_ends_the_thread(error, caplog):
    failed, done = threading.Event(), threading.Event()

    def fail():
        failed.set()
        raise error

    housekeeper = Housekeeper()
    housekeeper.start([Chore(fail, 60), Chore(done.set, 60)])
    assert failed.wait(60)
    assert done.wait(60)
    housekeeper.stop()

    assert [record.action for record in caplog.records] == [
        "housekeeping_failed"
    ]


def test_the_thread_outlives_a_round_that_cannot_begin(caplog, monkeypatch):
    monkeypatch.setattr(thread, "PAUSE", 0.05)
    answers, done = [MemoryError, SystemExit], threading.Event()

    def is_wanted():
        if answers:
            raise answers.pop()
        return True

    housekeeper = Housekeeper()
    housekeeper.start([Chore(done.set, 60, is_wanted=is_wanted)])
    assert done.wait(60)
    housekeeper.stop()

    assert [record.action for record in caplog.records] == [
        "housekeeping_failed",
        "housekeeping_failed",
    ]
