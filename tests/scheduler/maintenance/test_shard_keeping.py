"""The pages that a process makes ahead, and what it notes of their jobs."""

import pytest
import shop
import transaction
from hand_driven import Process

from pyramid_zodb_async import PersistentTransactionalScheduler
from pyramid_zodb_async.database.connections import current_connections
from pyramid_zodb_async.scheduler.maintenance.findings import OpenShard
from pyramid_zodb_async.scheduler.maintenance.live_incarnations import (
    LIVE_INCARNATIONS,
    OWN_INCARNATIONS,
)
from pyramid_zodb_async.scheduler.process.free_pages import FEWEST
from pyramid_zodb_async.scheduler.sids import split_sid


def shards(process):
    """Give the keepers of all shards, and the numbers of open pages."""
    return process.location.read(
        lambda store: {
            (number, shard_number): (shard.keeper, list(shard.open))
            for number, slice_ in store.slices.items()
            for shard_number, shard in slice_.all_shards().items()
        },
        {},
    )


def incarnation(process):
    return process.scheduler.process.incarnation


def adopt(process, key, keeper):
    """Have a process keep a shard, by the numbers of slice and shard."""
    return process.takeover.shards.adopt(keeper, [OpenShard(*key, keeper)])


def open_slice(process):
    process.location.write(
        lambda store: store.open_slice(0, 3600), note="another hour"
    )


def use_up(process):
    """Schedule as many jobs as there are pages."""
    sids = []
    while len(process.scheduler.process.free_pages):
        sids.append(process.schedule(shop.nothing))
    return sids


def last_tid(process):
    return process.db.storage.lastTransaction()


# -- making


def test_pages_are_made_when_they_are_missing_and_not_before(process):
    keeper = process.takeover.shards
    assert len(process.scheduler.process.free_pages) == FEWEST
    before = last_tid(process)
    keeper.make_pages()
    assert last_tid(process) == before
    use_up(process)
    keeper.make_pages()

    assert len(process.scheduler.process.free_pages) >= FEWEST
    assert len(shards(process)) == 1


def test_the_pages_of_the_next_hour_are_in_its_slice(process):
    open_slice(process)
    sid = process.schedule(shop.nothing)
    process.takeover.shards.make_pages()
    later = process.schedule(shop.nothing)

    # those of the hour before are given no more
    assert isinstance(split_sid(sid).page, bytes)
    assert isinstance(split_sid(later).page, tuple)
    first, second = shards(process)
    assert split_sid(later).number == second[0] > first[0]


def test_another_shard_is_made_after_a_takeover_of_the_first(process, other):
    (first,) = (
        key
        for key, (keeper, _) in shards(process).items()
        if keeper == incarnation(process)
    )
    adopt(other, first, incarnation(process))
    lost = process.schedule(shop.give, "listed")
    process.takeover.shards.make_pages()
    sid = process.schedule(shop.give, "in a page")
    keepers = [keeper for keeper, _ in shards(process).values()]

    assert isinstance(split_sid(lost).page, bytes)
    assert split_sid(sid).page[0] != first[1]
    assert keepers.count(incarnation(process)) == 1
    assert keepers.count(incarnation(other)) == 2


def test_a_process_uses_what_the_one_before_it_has_left(processes):
    """On a storage that only one process can have open."""
    gone = processes()
    sids = [gone.schedule(shop.give, number) for number in range(2)]
    gone.stop()
    OWN_INCARNATIONS.discard(incarnation(gone))
    process = processes()
    found = shards(process)
    sid = process.schedule(shop.give, "new")
    process.take_over()
    while process.engine.submitted:
        process.run()
    process.take_over()

    assert found == {
        key: (incarnation(process), list(range(FEWEST + 2))) for key in found
    }
    assert split_sid(sid).page == (0, 2)
    assert [process.view(sid).result for sid in sids] == [0, 1]
    assert process.scheduler.unfinished() == []


def test_one_of_this_very_process_that_was_stopped_may_yet_commit(processes):
    stopped = processes()
    transaction.begin()
    sid = stopped.scheduler.schedule(shop.give, "late")
    stopped.stop()
    process = processes()
    shop.in_thread(process.take_over)
    transaction.commit()
    process.take_over()
    while process.engine.submitted:
        process.run()

    assert len(shards(process)) == 2
    assert process.view(sid).result == "late"


def test_a_store_that_is_not_committed_gets_no_pages_until_it_is(
    connection, caplog
):
    scheduler = PersistentTransactionalScheduler()
    connection.root()["new"] = scheduler
    scheduler.schedule(shop.nothing)
    this_process = scheduler._process().process
    shop.wait_until(lambda: not this_process.free_pages.is_used)
    transaction.commit()
    assert scheduler.wait(timeout=shop.PATIENCE)
    scheduler.stop()

    assert [line for line in caplog.records if line.levelname != "INFO"] == []
    assert len(this_process.free_pages) == 0


# -- noting what has ended


def test_what_has_ended_is_open_no_more(process):
    sids = [process.schedule(shop.nothing) for _ in range(3)]
    process.run(sids[1])
    ((_, before),) = shards(process).values()
    unsettled, undone = process.takeover.shards.settle()
    ((_, after),) = shards(process).values()

    assert (unsettled, undone) == ([], {})
    assert set(before) - set(after) == {split_sid(sids[1]).page[1]}
    tid = last_tid(process)
    assert process.takeover.shards.settle() == ([], {})
    assert last_tid(process) == tid


def test_what_was_dropped_and_waits_is_told_once(process):
    sid = process.schedule(shop.nothing)
    process.scheduler.process.assigned_jobs.drop(sid)
    process.scheduler.process.to_settle.append(sid)

    assert process.takeover.shards.settle() == ([sid], {})
    assert process.takeover.shards.settle() == ([], {})


def test_a_failed_write_is_made_the_next_time(process, monkeypatch):
    sid = process.schedule(shop.nothing)
    process.run()

    def fail(work, note):
        raise OSError(note)

    with monkeypatch.context() as patched:
        patched.setattr(process.location, "write", fail)
        with pytest.raises(OSError, match="ended"):
            process.takeover.shards.settle()
    process.takeover.shards.settle()
    ((_, left),) = shards(process).values()

    assert split_sid(sid).page[1] not in left


def test_the_page_of_a_commit_that_did_not_succeed_is_closed(process):
    transaction.begin()
    sid = process.scheduler.schedule(shop.nothing)
    # as if nobody knew whether that was committed
    for change in process.scheduler.process.changes.known(transaction.manager):
        change.leave_in_doubt()
        change.page = None
    transaction.abort()
    process.takeover.shards.settle()
    number, page, *_ = split_sid(sid)
    closed = process.location.read(
        lambda store: store.slices[number].page(page).closed, None
    )

    assert closed
    ((_, left),) = shards(process).values()
    assert page[1] not in left


def test_the_shard_of_another_process_is_not_written(process, other):
    sid = process.schedule(shop.nothing)
    process.run()
    before = shards(process)
    process.scheduler.process.to_settle.clear()
    other.scheduler.process.to_settle.append(sid)
    other.takeover.shards.settle()

    assert shards(process) == before


# -- taking over


def test_an_adopted_shard_has_open_only_what_is_unfinished(process, other):
    kept = process.schedule(shop.nothing)
    ended = process.schedule(shop.nothing)
    process.run(ended)
    (key,) = (
        key
        for key, (keeper, _) in shards(process).items()
        if keeper == incarnation(process)
    )
    assert not adopt(other, key, "somebody else")
    assert shards(process)[key][0] == incarnation(process)
    assert adopt(other, key, incarnation(process))

    assert shards(process)[key] == (
        incarnation(other),
        [split_sid(kept).page[1]],
    )
    # there is no such slice, and no such shard
    assert not adopt(other, (0, 0), "somebody else")
    assert not adopt(other, (key[0], 99), "somebody else")


def test_in_an_old_slice_a_process_closes_its_empty_pages_once(process):
    sid = process.schedule(shop.nothing)
    open_slice(process)
    process.take_over()
    ((_, left),) = shards(process).values()
    assert left == [split_sid(sid).page[1]]
    tid = last_tid(process)
    process.take_over()

    assert last_tid(process) == tid


def test_the_empty_shard_of_a_dead_process_in_an_old_slice_is_adopted(
    db, processes
):
    gone = processes()
    gone.stop()
    open_slice(gone)
    process = Process(db, has_pages=False)
    process.take_over()
    process.take_over()
    process.stop()

    adopted, *_ = shards(process).values()
    assert adopted == (incarnation(process), [])


def test_a_successor_leaves_nothing_but_what_it_does_not_run(processes):
    gone = processes()
    transaction.begin()
    sids = [
        gone.scheduler.schedule_call(
            shop.give, (queue,), {}, current_connections(), options=options
        )
        for queue in ("mail", "default") * 5
        for options in ({"queue": queue},)
    ]
    transaction.commit()
    for sid in sids[:2]:
        gone.run(sid)
    gone.stop()
    web, again, worker = processes(), processes(), processes()
    for successor in web, again:
        dispatcher = successor.scheduler.process.dispatcher
        dispatcher.leaves = lambda queue: queue == "mail"
        dispatcher.runs = lambda queue: queue != "mail"
        successor.takeover.shards._leaves_some = lambda: True
        successor.take_over()
    worker.take_over()
    for process in again, worker:
        while process.engine.submitted:
            process.run()

    assert [worker.view(sid).result for sid in sids] == ["mail", "default"] * 5
    assert worker.scheduler.unfinished() == []


@pytest.mark.parametrize("number", [1, 9])
def test_what_a_successor_leaves_to_others_is_found_by_them(processes, number):
    gone = processes()
    transaction.begin()
    sids = [
        gone.scheduler.schedule_call(
            shop.give,
            (count,),
            {},
            current_connections(),
            options={"queue": "mail"},
        )
        for count in range(number)
    ]
    transaction.commit()
    gone.stop()
    web, worker = processes(), processes()
    # as if it had threads for other queues alone
    web.scheduler.process.dispatcher.leaves = lambda queue: queue == "mail"
    web.takeover.shards._leaves_some = lambda: True
    LIVE_INCARNATIONS.add(incarnation(web))
    web.take_over()
    web.take_over()
    worker.take_over()
    while worker.engine.submitted:
        worker.run()
    LIVE_INCARNATIONS.discard(incarnation(web))

    assert web.engine.submitted == []
    assert [worker.view(sid).result for sid in sids] == list(range(number))
    web.take_over()
    worker.take_over()
    assert worker.scheduler.unfinished() == []
