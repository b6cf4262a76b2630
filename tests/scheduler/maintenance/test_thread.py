"""The thread that looks after jobs."""

import threading

from pyramid_zodb_async.scheduler.maintenance.thread import Chore, Housekeeper


def test_chores_are_done_at_once_and_again_and_again():
    done = []
    enough = threading.Event()

    def chore():
        done.append(threading.current_thread().name)
        if len(done) == 3:
            enough.set()

    housekeeper = Housekeeper([Chore(chore, 0.01)])
    housekeeper.start()
    housekeeper.start()
    assert enough.wait(60)
    housekeeper.stop()
    housekeeper.stop()

    assert set(done) == {"zodb_async-housekeeper"}


def test_a_chore_that_fails_is_told_and_keeps_none_from_being_done(caplog):
    done = threading.Event()
    housekeeper = Housekeeper([Chore(lambda: 1 / 0, 60), Chore(done.set, 60)])
    housekeeper.start()
    assert done.wait(60)
    housekeeper.stop()

    assert "will be tried again in 60 s" in caplog.text


def test_it_stops_between_two_chores():
    entered, leave, after = (threading.Event() for _ in range(3))

    def chore():
        entered.set()
        leave.wait(60)

    housekeeper = Housekeeper([Chore(chore, 60), Chore(after.set, 60)])
    housekeeper.start()
    assert entered.wait(60)
    stopping = threading.Thread(target=housekeeper.stop)
    stopping.start()
    leave.set()
    stopping.join(60)

    assert not after.is_set()
