"""Two clients of a storage that write at the same time, on each storage."""

import contextlib

import pytest
import shop
import storages
import transaction
from hand_driven import Process, leased
from interleaved import Begun, in_order
from ZODB.DB import DB
from zodburi import resolve_uri

from pyramid_zodb_async.jobs.model import Failure
from pyramid_zodb_async.scheduler.maintenance import (
    bulk_claims,
    shard_keeping,
)
from pyramid_zodb_async.scheduler.maintenance.expiry import SliceExpiry
from pyramid_zodb_async.scheduler.process import bulk_intake
from pyramid_zodb_async.scheduler.sids import split_sid
from pyramid_zodb_async.scheduler.slices import ALL
from pyramid_zodb_async.scheduler.store.transitions import End, fail, revive

pytestmark = pytest.mark.parametrize("storage", ["file", "zeo", "postgres"])

both_orders = pytest.mark.parametrize("order", ["first", "last"])


@pytest.fixture
def clients(storage, tmp_path, monkeypatch):
    """Give two processes with a client each, where the storage has several."""
    monkeypatch.setattr(bulk_intake, "WINDOW", 5)
    monkeypatch.setattr(bulk_claims, "ENOUGH", 5)
    with contextlib.ExitStack() as stack:
        uri = stack.enter_context(storages.uri_of(storage, tmp_path))
        make, options = resolve_uri(uri)
        first = DB(make(), **options)
        second = first if storage == "file" else DB(make(), **options)
        for db in {first, second}:
            stack.callback(db.close)
        stack.callback(transaction.abort)
        made = [Process(db) for db in (first, second)]
        for process in made:
            stack.callback(process.stop)
            process.takeover.shards.make_pages()
        yield made


def schedule(process, count=None):
    """Schedule a bulk, or a job; give its sids."""
    transaction.begin()
    if count is None:
        sids = [process.scheduler.schedule(shop.give, 1)]
    else:
        sids = process.scheduler.many(shop.give, [(1,)] * count)
    sids = list(sids)
    transaction.commit()
    return sids


def begin_to_schedule(process, count=None):
    """Do the same in a transaction that commits when it is told to."""
    transaction.begin()
    if count is None:
        return Late([process.scheduler.schedule(shop.give, 1)])
    return Late(list(process.scheduler.many(shop.give, [(1,)] * count)))


class Late:
    """The transaction of this thread."""

    def __init__(self, sids):
        self.sids = sids

    def commits(self):
        try:
            transaction.commit()
        except transaction.interfaces.TransientError:
            transaction.abort()
            return False
        return True


def tend(*processes):
    """Do the chores, and run what there is."""
    for _ in range(6):
        for process in processes:
            process.take_over()
            process.takeover.bulks.take_in()
            while process.engine.submitted:
                process.run()


def listed(process):
    """Give what the slices list."""
    return process.location.read(
        lambda store: [
            key for slice_ in store.slices.values() for key in slice_.listed()
        ],
        [],
    )


def shard_of(sid):
    number, (shard_number, _), *_ = split_sid(sid)
    return number, shard_number


@both_orders
@pytest.mark.parametrize("count", [None, 12])
def test_a_page_is_either_written_or_closed(clients, order, count):
    maker, other = clients
    number, shard_number = shard_of(schedule(maker)[0])
    late = begin_to_schedule(maker, count)

    def adopt(store):
        shard = store.slices[number].all_shards()[shard_number]
        shard.keeper = other.scheduler.process.incarnation
        shard_keeping.close_empty_pages(shard)

    adoption = Begun(other.location, adopt)
    committed = in_order(order, late, adoption)
    assert committed == ((True, False) if order == "first" else (False, True))
    tend(other, maker)

    assert maker.scheduler.unfinished() == []
    transaction.begin()
    views = [maker.scheduler.get(sid) for sid in late.sids]
    results = [view and view.result for view in views]
    expected = 1 if order == "first" else None
    assert results == [expected] * len(results)


@both_orders
@pytest.mark.parametrize("count", [None, 12])
def test_a_commit_in_doubt_comes_before_a_look_or_not_at_all(
    clients, order, count
):
    maker, other = clients
    late = begin_to_schedule(maker, count)
    look = Begun(
        maker.location,
        lambda store: maker.takeover.shards._settle(store, late.sids),
    )
    committed = in_order(order, late, look)
    assert committed == ((True, False) if order == "first" else (False, True))
    maker.stop()
    other.takeover = leased(other, lease=0.001)
    tend(other)

    assert other.scheduler.unfinished() == []
    transaction.begin()
    view = other.scheduler.get(late.sids[-1])
    assert (view and view.result) == (1 if order == "first" else None)


@both_orders
def test_a_slice_gets_a_job_or_is_closed(clients, order):
    maker, other = clients
    schedule(maker)
    tend(maker)
    late = begin_to_schedule(maker)
    number = split_sid(late.sids[0]).number
    expiry = SliceExpiry(other.scheduler.process)
    other.location.write(
        lambda store: store.open_slice(0, 100), note="another slice"
    )
    closing = Begun(
        other.location,
        lambda store: expiry._open_and_drop(store, numbers=[number]),
    )
    committed = in_order(order, late, closing)
    assert committed == ((True, False) if order == "first" else (False, True))


@both_orders
@pytest.mark.parametrize("count", [None, 3])
def test_a_revived_job_is_dropped_or_revived(clients, order, count):
    maker, other = clients
    sids = schedule(maker, count)
    maker.engine.submitted.clear()
    number = split_sid(sids[0]).number

    def fail_all(store):
        for sid in sids:
            job = store.locate(sid)
            end = shop.time.time() - 200, shop.time.time() - 100
            fail(
                job,
                job.fence,
                End(*end),
                Failure(type="ValueError", message=""),
                b"",
            )
        store.open_slice(0, 100)
        store.slices[number].keep_until = shop.time.time() - 1
        store.slices[number].longest_timeout = 100

    other.location.write(fail_all, note="they fail")
    expiry = SliceExpiry(other.scheduler.process)

    def revive_last(store):
        job = store.locate(sids[-1])
        revive(job, job.fence, maker.scheduler.process.incarnation)

    revival = Begun(maker.location, revive_last)
    drop = Begun(
        other.location,
        lambda store: expiry._open_and_drop(store, numbers=[number]),
    )
    committed = in_order(order, revival, drop)
    assert committed == ((True, False) if order == "first" else (False, True))
    maker.stop()
    is_there = other.location.read(lambda store: number in store.slices, None)
    assert is_there == (order == "first")
    assert other.scheduler.unfinished() == sids[-1:] * is_there


@both_orders
def test_a_window_is_claimed_by_one_process(clients, order):
    first, second = clients
    sids = schedule(first, 17)
    key = tuple(split_sid(sids[0])[:2])
    claims = [
        Begun(
            process.location,
            lambda store, process=process: process.takeover.bulks._claim(
                store, key
            ),
        )
        for process in clients
    ]
    committed = in_order(order, *claims)
    assert committed == ((True, False) if order == "first" else (False, True))
    # the other one tries again, and takes the next window
    second.scheduler.process.bulks.new.append(key)
    tend(*(clients if order == "first" else reversed(clients)))

    transaction.begin()
    assert [first.scheduler.get(sid).result for sid in sids] == [1] * 17
    tend(first, second)
    assert first.scheduler.unfinished() == []
    assert listed(first) == []


@both_orders
def test_the_last_two_jobs_of_a_bulk_may_be_closed_at_the_same_time(
    clients, order
):
    first, second = clients
    for process in clients:
        process.takeover = leased(process, lease=30)
    sids = schedule(first, 10)
    second.takeover.bulks.note([tuple(split_sid(sids[0])[:2])])
    second.takeover.bulks.take_in()
    assert [index for _, index in listed(first)] == [ALL]
    for process in clients:
        while process.engine.submitted:
            process.run()
    for process, mine in zip(clients, (sids[:5], sids[5:]), strict=True):
        process.scheduler.process.to_settle.clear()
        process.scheduler.process.to_settle.extend(mine[:-1])
        process.takeover.shards.settle()
    closings = [
        Begun(
            process.location,
            lambda store, process=process, sid=sid: (
                process.takeover.shards._settle(store, [sid])
            ),
        )
        for process, sid in zip(clients, (sids[4], sids[9]), strict=True)
    ]
    # else each of them would leave it to the other to say that it is over
    committed = in_order(order, *closings)
    assert committed == ((True, False) if order == "first" else (False, True))
    retry = clients[order == "first"]
    retry.scheduler.process.to_settle.append(
        sids[9 if order == "first" else 4]
    )
    retry.takeover.shards.settle()

    assert listed(first) == []
