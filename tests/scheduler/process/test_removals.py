"""Removals of ended jobs, which are noted at once and written later."""

import pytest
import shop
import transaction
from hand_driven import Process
from ZODB.POSException import ConflictError
from ZODB.utils import p64, u64

from pyramid_zodb_async.database.connections import JarConnections
from pyramid_zodb_async.scheduler.process import removals


def remove(process, *sids):
    transaction.begin()
    for sid in sids:
        process.scheduler.remove(sid)
    transaction.commit()


def ended(process, function=shop.nothing, *arguments):
    sid = process.schedule(function, *arguments)
    process.run(sid)
    return sid


def last(db):
    return db.storage.lastTransaction()


def test_an_ended_job_is_gone_at_once_without_a_commit(db, process):
    sid = ended(process)
    before = last(db)
    remove(process, sid)

    assert process.view(sid) is None
    assert last(db) == before


def test_the_housekeeper_forgets_many_by_one_commit(db, process, other):
    sids = [ended(process) for _ in range(20)]
    remove(process, *sids[:10])
    remove(process, *sids[10:])
    assert other.view(sids[0]) is not None
    before = last(db)
    process.forget()

    written = list(db.storage.iterator(p64(u64(before) + 1)))
    assert len(written) == 1
    assert [other.view(sid) for sid in sids] == [None] * 20
    assert [process.view(sid) for sid in sids] == [None] * 20


def test_it_writes_nothing_when_nothing_was_removed(db, process):
    before = last(db)
    process.forget()

    assert last(db) == before


def test_the_record_is_not_written(db, process):
    sid = ended(process)
    remove(process, sid)
    before = last(db)
    process.forget()

    classes = {
        record.data.split(b"\n")[1].decode()
        for written in db.storage.iterator(p64(u64(before) + 1))
        for record in written
    }
    assert classes <= {"OIBTree", "OIBucket"}


def test_it_is_gone_for_the_transaction_that_removes_it(process):
    sid = ended(process)
    transaction.begin()
    process.scheduler.remove(sid)

    assert process.scheduler.get(sid) is None
    transaction.abort()
    assert process.view(sid) is not None


def test_a_savepoint_that_is_rolled_back_brings_it_back(process):
    first, second = ended(process), ended(process)
    transaction.begin()
    process.scheduler.remove(first)
    savepoint = transaction.savepoint()
    process.scheduler.remove(second)
    savepoint.rollback()
    assert process.scheduler.get(second) is not None
    transaction.commit()

    assert process.view(first) is None
    assert process.view(second) is not None


def test_a_retry_by_another_process_wins_over_a_removal(process, other):
    sid = ended(process, shop.fail, "once")
    remove(process, sid)
    transaction.begin()
    assert other.scheduler.retry(sid)
    transaction.commit()
    process.forget()

    assert other.view(sid).state == "pending"
    other.run()
    assert process.view(sid).state == "failed"
    assert other.view(sid).state == "failed"


def test_a_retry_that_commits_after_the_removal_was_written_wins_too(
    process, other
):
    sid = ended(process, shop.fail, "once")
    transaction.begin()
    assert other.scheduler.retry(sid)
    removing = transaction.TransactionManager()
    with removing:
        connections = connections_of(process, removing)
        process.scheduler.remove(sid, connections)
    process.forget()
    transaction.commit()

    other.run()
    assert process.view(sid).state == "failed"


def test_what_was_removed_twice_is_written_once_more(process, other):
    sid = ended(process, shop.fail, "once")
    remove(process, sid)
    transaction.begin()
    assert other.scheduler.retry(sid)
    transaction.commit()
    process.forget()
    other.run()
    assert process.view(sid).state == "failed"
    remove(process, sid)
    assert process.view(sid) is None
    process.forget()

    assert other.view(sid) is None


def test_of_two_that_fetch_an_outcome_one_conflicts(process):
    sid = ended(process, shop.give, 1)
    managers = [transaction.TransactionManager() for _ in range(2)]
    given = []
    for manager in managers:
        manager.begin()
        connections = connections_of(process, manager)
        given.append(process.scheduler.get_result(sid, connections))
    assert given == [(1, None)] * 2
    managers[0].commit()

    with pytest.raises(ConflictError):
        managers[1].commit()
    managers[1].abort()


def test_a_fetch_after_a_removal_finds_nothing(process, other):
    sid = ended(process, shop.give, 1)
    remove(process, sid)
    transaction.begin()
    assert process.scheduler.get_result(sid) is None
    assert process.scheduler.completed(sid) is None
    transaction.abort()
    process.forget()

    transaction.begin()
    assert other.scheduler.get_result(sid) is None


def test_a_process_that_is_killed_before_leaves_the_outcome(process, other):
    sid = ended(process)
    remove(process, sid)
    process.stop()

    assert other.view(sid).state == "succeeded"


def test_a_process_that_stops_writes_what_it_has_noted(process, other):
    sid = ended(process)
    remove(process, sid)
    process.scheduler.stop()

    assert other.view(sid) is None


def test_what_was_removed_stays_so_when_the_write_fails(process, monkeypatch):
    sid = ended(process)
    remove(process, sid)

    def refuse(*_, **__):
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(type(process.location), "write", refuse)
        with pytest.raises(OSError, match="disk"):
            process.forget()
    assert process.view(sid) is None
    process.forget()

    assert process.view(sid) is None


def test_what_is_removed_during_the_write_is_written_next(
    process, other, monkeypatch
):
    first, second = ended(process), ended(process)
    remove(process, first)
    write = type(process.location).write

    def write_and_remove(location, *arguments, **named):
        write(location, *arguments, **named)
        remove(process, first, second)
        place = process.location.read(
            lambda store: store.locate(second).place, None
        )
        process.scheduler.process.removals.note(first, place, 7)

    with monkeypatch.context() as patch:
        patch.setattr(type(process.location), "write", write_and_remove)
        process.forget()
    assert len(process.scheduler.process.removals) == 2
    assert process.view(second) is None
    process.forget()

    assert other.view(second) is None


def test_a_stop_after_the_database_was_closed_leaves_them(db, process, caplog):
    remove(process, ended(process))
    transaction.abort()
    db.close()
    process.scheduler.stop()

    assert "closed before" not in caplog.text


def test_a_process_without_a_housekeeper_writes_them_at_once(db, other):
    sid = ended(other)
    script = Process(db)
    script.stop()
    remove(script, sid)

    assert other.view(sid) is None


def test_no_more_are_noted_than_the_storage_takes(process, other, monkeypatch):
    monkeypatch.setattr(removals, "MOST", 2)
    sids = [ended(process) for _ in range(3)]
    for sid in sids:
        remove(process, sid)

    assert len(process.scheduler.process.removals) == 2
    assert other.view(sids[2]) is None
    assert [process.view(sid) for sid in sids] == [None] * 3


def test_jobs_of_a_bulk_are_forgotten_one_by_one(process, other):
    transaction.begin()
    sids = list(process.scheduler.many(shop.give, [(n,) for n in range(12)]))
    transaction.commit()
    for sid in sids:
        process.run(sid)
    remove(process, *sids[::2])
    process.forget()

    seen = [other.view(sid) is None for sid in sids]
    assert seen == [True, False] * 6


def test_a_job_that_is_listed_is_forgotten_too(db, other):
    script = Process(db, has_pages=False)
    script.stop()
    sid = script.schedule(shop.nothing)
    other.take_over()
    other.run()
    remove(other, sid)
    other.forget()

    assert script.view(sid) is None


def test_a_slice_that_an_earlier_version_has_opened_has_none_until_then(
    process, other
):
    sid = ended(process)

    def age(store):
        del store.newest()[1].forgotten

    process.location.write(age, note="as of an earlier version")
    assert process.view(sid) is not None
    remove(process, sid)
    process.forget()

    assert other.view(sid) is None


def test_a_removal_of_a_slice_that_was_dropped_is_none(process):
    sid = ended(process)
    remove(process, sid)

    def drop(store):
        number, _ = store.newest()
        store.open_slice(1e10, 1)
        del store.slices[number]

    process.location.write(drop, note="drop")
    process.forget()

    assert len(process.scheduler.process.removals) == 0


def test_a_transaction_that_began_before_the_write_does_not_see_the_job(
    process,
):
    sid = ended(process)
    remove(process, sid)
    transaction.begin()
    assert process.scheduler.get(sid) is None
    process.forget()

    assert process.scheduler.get(sid) is None


def connections_of(process, manager):
    """Give connections of a transaction manager of its own."""
    return JarConnections(process.db.open(transaction_manager=manager))
