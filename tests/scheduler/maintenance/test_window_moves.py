"""The windows of bulks move with their jobs, and those of nobody do not."""

import pytest
import shop
import transaction

from pyramid_zodb_async.scheduler.maintenance.window_moves import move_windows
from pyramid_zodb_async.scheduler.process import bulk_intake


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch):
    """Have jobs claimed by fives."""
    monkeypatch.setattr(bulk_intake, "WINDOW", 5)


@pytest.fixture
def bulk(process):
    """Give the sids of a bulk of two full windows and another job."""
    transaction.begin()
    sids = list(process.scheduler.many(shop.give, [(n,) for n in range(11)]))
    transaction.commit()
    return sids


def moved(process, sids):
    """Move windows with some jobs; give their numbers."""

    def move(store):
        jobs = [store.locate(sid) for sid in sids]
        return [number for *_, number in move_windows(jobs, "another")]

    return process.location.write(move, note="windows")


def test_a_window_moves_with_all_of_its_jobs(process, bulk):
    assert moved(process, bulk[:5]) == [0]


def test_it_does_not_move_without_one_of_them(process, bulk):
    assert moved(process, bulk[:4]) == []


def test_it_moves_without_those_that_have_ended(process, bulk):
    process.run(bulk[4])

    assert moved(process, bulk[:4]) == [0]


def test_a_window_that_nobody_has_claimed_stays_so(process, bulk):
    assert moved(process, bulk[10:]) == []
    while process.scheduler.unfinished():
        process.takeover.bulks.take_in()
        while process.engine.submitted:
            process.run()

    assert [process.view(sid).result for sid in bulk] == list(range(11))


def test_jobs_of_their_own_have_no_window(process):
    assert moved(process, [process.schedule(shop.nothing)]) == []
