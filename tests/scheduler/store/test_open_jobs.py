"""How many jobs have not ended, told without reading those of blocks."""

import pytest
import shop
import transaction
from BTrees.IIBTree import IITreeSet
from BTrees.IOBTree import IOBTree
from hand_driven import Process, page_of

from pyramid_zodb_async import TransactionalScheduler
from pyramid_zodb_async.scheduler.job_records import Cell
from pyramid_zodb_async.scheduler.process.placing import add_cell
from pyramid_zodb_async.scheduler.records import Shard
from pyramid_zodb_async.scheduler.slices import ALL
from pyramid_zodb_async.scheduler.store.open_jobs import count_open


@pytest.fixture
def process(db):
    return Process(db)


def schedule(process, *counts):
    """Schedule bulks and single jobs, in a transaction each."""
    sids = []
    for count in counts:
        transaction.begin()
        calls = ((number,) for number in range(count))
        sids += process.scheduler.many(shop.give, calls)
        transaction.commit()
    return sids


def test_single_jobs_bulks_and_late_jobs_count(process):
    schedule(process, 3, 700)
    process.schedule(shop.give, 1)
    with transaction.manager:
        process.scheduler.many(
            shop.give, ((number,) for number in range(40)), spread=86400
        )

    scheduler = process.scheduler
    assert scheduler.count_unfinished() == len(scheduler.unfinished()) == 744


def test_what_has_succeeded_here_does_not_count_before_a_look(process):
    schedule(process, 3, 600)
    with transaction.manager:
        for number in range(10):
            process.scheduler.schedule(shop.give, number)
    for _ in range(3 + 500 + 10):  # as many as are claimed
        process.run()
    assert process.scheduler.count_unfinished() == 100
    process.takeover.shards.settle()

    assert process.scheduler.count_unfinished() == 100


def test_what_was_cancelled_counts_until_the_next_look(process):
    sids = schedule(process, 3)
    with transaction.manager:
        assert process.scheduler.cancel(sids[1])
    assert len(process.scheduler.unfinished()) == 2
    assert process.scheduler.count_unfinished() == 3
    process.take_over()

    assert process.scheduler.count_unfinished() == 2


def test_a_job_of_a_bulk_that_is_retried_counts_once(process):
    sids = schedule(process, 3)
    transaction.begin()
    assert process.scheduler.cancel(sids[0])
    transaction.commit()
    process.take_over()

    assert process.scheduler.count_unfinished() == 2


def test_the_jobs_of_a_bulk_are_not_read(process, monkeypatch):
    schedule(process, 30)
    process.db.cacheMinimize()

    monkeypatch.setattr(Cell, "__setstate__", None)

    assert process.scheduler.count_unfinished() == 30


def test_what_is_listed_counts_once_in_whatever_slice(process, connection):
    store = connection.root()["pyramid_zodb_async"]
    _, slice_ = store.newest()
    store.add(page_of(), 1)
    block = page_of(cells=IOBTree(), open=IITreeSet())
    located = store.add(block, 1)
    for _ in range(3):
        add_cell(block, ((), ()))
    slice_.list_job(located.key, 1)  # as a retry does
    slice_.list_job(b"k" * 16, ALL)  # what is not there counts for nothing
    shared = fresh_page(slice_, listed=True)
    assert shared.listed
    assert count_open(store) == 4
    store.open_slice(0, longest_timeout=1)
    assert count_open(store) == 4
    slice_.keep_until = 1.0

    assert count_open(store) == 0


def fresh_page(slice_, **values):
    """Make a page in a shard of somebody else's, and a job on it."""
    shard = slice_.shards[7] = Shard("another")
    (number,) = shard.make_pages(1)
    shard.pages[number].change(function="shop:nothing", **values)
    return shard.pages[number]


def test_jobs_in_memory_are_counted():
    scheduler = TransactionalScheduler()
    assert scheduler.count_unfinished() == 0
