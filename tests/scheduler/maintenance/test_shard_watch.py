"""Which shards a look goes into: as few as possible, and none too few."""

import pytest
import shop
import transaction
from hand_driven import leased, look_until

from pyramid_zodb_async.scheduler.maintenance import shard_watch
from pyramid_zodb_async.scheduler.maintenance.live_incarnations import (
    LIVE_INCARNATIONS,
)
from pyramid_zodb_async.scheduler.sids import split_sid


@pytest.fixture
def looked_into(monkeypatch):
    """Give the numbers of the shards that looks go into."""
    found = []
    look = shard_watch.ShardWatch._pages

    def note(self, store, findings, number, shard_number, *first):
        found.append(shard_number)
        return look(self, store, findings, number, shard_number, *first)

    monkeypatch.setattr(shard_watch.ShardWatch, "_pages", note)
    return found


def incarnation(process):
    return process.scheduler.process.incarnation


def shard_of(process):
    """Give the number of the shard that a process keeps."""
    return process.location.read(
        lambda store: next(
            number
            for number, shard in store.newest()[1].shards.items()
            if shard.keeper == incarnation(process)
        ),
        None,
    )


def keeper_of(process, number):
    return process.location.read(
        lambda store: store.newest()[1].shards[number].keeper, None
    )


def test_a_process_does_not_look_into_the_shards_that_it_has_made(
    process, looked_into
):
    sid = process.schedule(shop.nothing)
    process.take_over()

    assert looked_into == []
    assert process.engine.submitted == [sid]


def test_it_looks_into_one_that_it_has_taken_over_until_it_holds_all_of_it(
    processes, looked_into
):
    gone = processes()
    sids = [gone.schedule(shop.give, number) for number in range(3)]
    number = shard_of(gone)
    process = processes()
    process.take_over()
    assert keeper_of(process, number) == incarnation(process)
    # whether there is a job, and then which ones
    assert looked_into == [number] * 2
    process.take_over()
    assert looked_into == [number] * 3
    process.take_over()

    assert looked_into == [number] * 3
    assert all(sid in process.scheduler.process.assigned_jobs for sid in sids)


def test_where_one_process_has_the_storage_shards_of_live_ones_are_left(
    processes, looked_into
):
    lives = processes()
    sid = lives.schedule(shop.nothing)
    LIVE_INCARNATIONS.add(incarnation(lives))
    process = processes()
    process.take_over()
    assert looked_into == []
    LIVE_INCARNATIONS.discard(incarnation(lives))
    process.take_over()

    assert looked_into
    assert process.engine.submitted == [sid]


def test_where_others_have_it_too_those_are_left_whose_keepers_beat(
    processes, looked_into
):
    lives, process = processes(), processes()
    sid = lives.schedule(shop.nothing)
    number = shard_of(lives)
    signs, takeover = leased(lives), leased(process)
    for _ in range(4):
        signs.heartbeat.beat()
        takeover.take_over_lost()
    # at the first look nobody knows
    assert looked_into.count(number) == 1
    assert keeper_of(process, number) == incarnation(lives)
    look_until(takeover, lambda: process.engine.submitted)

    assert process.engine.submitted == [sid]
    assert keeper_of(process, number) == incarnation(process)


def test_a_process_that_only_waits_keeps_its_empty_pages(processes):
    idle, process = processes(), processes()
    number = shard_of(idle)
    takeover = leased(process, lease=0.05)
    for _ in range(5):
        takeover.take_over_lost()
        shop.over.wait(0.05)
    sid = idle.schedule(shop.give, "here")
    idle.run()

    assert split_sid(sid).page[0] == number
    assert idle.view(sid).result == "here"
    assert keeper_of(process, number) == incarnation(idle)


def test_a_look_reads_no_page_that_is_not_open(processes):
    gone = processes()
    for _ in range(5):
        gone.schedule(shop.nothing)
        gone.run()
    left = gone.schedule(shop.nothing)
    gone.takeover.shards.settle()
    process = processes()
    read, search = [], process.takeover.search

    def look(store):
        shards = store.newest()[1].shards.values()
        pages = [page for shard in shards for page in shard.pages.values()]
        for page in pages:
            page._p_deactivate()
        found = type(search)._find(search, store)
        read[:] = [page for page in pages if page._p_changed is not None]
        read[:] = [page for page in read if page.function]
        return found

    search._find = look
    process.take_over()

    assert len(read) == 1
    assert process.engine.submitted == [left]


@pytest.mark.parametrize("others", [0, 1])
def test_a_job_that_is_listed_is_found_once(processes, others):
    gone = processes()
    sid = gone.schedule(shop.explain)
    gone.run()
    transaction.begin()
    assert gone.scheduler.retry(sid)
    transaction.commit()
    left = [gone.schedule(shop.nothing) for _ in range(others)]
    process = processes()
    # another one is to run it, but not yet
    process.location.write(
        lambda store: store.locate(sid).record.change(runner=None), note="free"
    )
    process.scheduler.process.dispatcher.leaves = lambda queue: queue == "mail"
    process.take_over()
    process.take_over()

    assert process.engine.submitted == [sid, *left]
