"""The scheduler that is a persistent object, as a script uses it."""

import logging

import pytest
import shop
import transaction
from ZODB.DB import DB
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ConflictError, POSKeyError

from pyramid_zodb_async import (
    BulkTooLarge,
    JobState,
    PersistentTransactionalScheduler,
    QueueFull,
    StoreNotUsable,
    transactional,
)
from pyramid_zodb_async.database.connections import JarConnections
from pyramid_zodb_async.scheduler import durable
from pyramid_zodb_async.scheduler.process.run import StoredRun
from pyramid_zodb_async.scheduler.records import FORMAT, TakenOver


@pytest.fixture
def root(connection):
    """Give a root with a scheduler and a product."""
    root = connection.root()
    root["scheduler"] = PersistentTransactionalScheduler()
    root["product"] = shop.Product("book")
    transaction.commit()
    yield root
    root["scheduler"].stop(grace=5)


@pytest.fixture
def scheduler(root):
    return root["scheduler"]


def ran(scheduler, function, *args):
    """Schedule, commit, and wait for the job; give its sid."""
    sid = scheduler.schedule(function, *args)
    transaction.commit()
    assert scheduler.wait(sid, 60)
    transaction.begin()
    return sid


@transactional
def rename_transactionally(product, name):
    return product.rename(name)


@transactional
def rename_and_fail(product, name):
    product.rename(name)
    raise ValueError(name)


def test_a_job_and_its_outcome_are_in_the_scheduler(scheduler, root):
    sid = ran(scheduler, rename_transactionally, root["product"], "new name")

    assert root["product"].name == "new name"
    assert scheduler.completed(sid) is True
    assert scheduler.get(sid).state is JobState.SUCCEEDED
    assert scheduler.get(sid).result == "new name"
    assert scheduler.get_result(sid) == ("new name", None)
    assert scheduler.get_result(sid) is None
    assert scheduler.completed(sid) is None


def test_a_function_without_a_decorator_has_a_transaction_too(scheduler, root):
    ran(scheduler, shop.Product.rename, root["product"], "new name")

    assert root["product"].name == "new name"


def test_a_failed_job_leaves_no_effects(scheduler, root):
    sid = ran(scheduler, rename_and_fail, root["product"], "new name")
    value, error = scheduler.get_result(sid)

    assert root["product"].name == "book"
    assert value is None
    assert type(error) is ValueError


def test_an_abort_leaves_no_job(scheduler):
    sid = scheduler.schedule(shop.nothing)
    assert scheduler.completed(sid) is False
    assert scheduler.get_result(sid) is False
    transaction.abort()

    assert scheduler.completed(sid) is None
    assert scheduler.get(sid) is None


def test_two_jobs_may_be_scheduled_by_the_same_connections(scheduler, root):
    connections = JarConnections(root._p_jar)
    process = scheduler._process()
    process.start()
    with transaction.manager:
        sids = [
            process.schedule_call(shop.give, (number,), {}, connections)
            for number in range(2)
        ]
    assert scheduler.wait(timeout=shop.PATIENCE)
    transaction.begin()

    assert [scheduler.get_result(sid) for sid in sids] == [
        (0, None),
        (1, None),
    ]


def test_a_removed_job_does_not_run(scheduler):
    sid = scheduler.schedule(shop.nothing)
    scheduler.remove(sid)
    transaction.commit()

    assert scheduler.wait(timeout=60)
    assert scheduler.get(sid) is None


def test_a_scheduler_that_is_stored_nowhere_says_so():
    scheduler = PersistentTransactionalScheduler()
    with pytest.raises(ValueError, match="store it first"):
        scheduler.schedule(shop.nothing)
    with pytest.raises(ValueError, match="store it first"):
        scheduler.get("unknown")


def test_a_scheduler_may_be_used_before_it_is_committed(connection):
    root = connection.root()
    scheduler = root["new"] = PersistentTransactionalScheduler()
    sid = ran(scheduler, shop.give, "outcome")

    assert scheduler.get_result(sid) == ("outcome", None)
    transaction.commit()
    scheduler.stop()


def test_a_scheduler_that_was_never_committed_does_no_harm(connection, caplog):
    root = connection.root()
    scheduler = root["new"] = PersistentTransactionalScheduler()
    scheduler.schedule(shop.nothing)
    scheduler.stop()
    transaction.abort()

    assert caplog.records == []


def test_many_calls_are_jobs_in_the_scheduler(scheduler, root):
    calls = ((root["product"], f"book{number}") for number in range(3))
    sids = scheduler.many(rename_transactionally, calls)
    assert scheduler.get(sids[0]).state is JobState.PENDING
    transaction.commit()
    assert scheduler.wait(timeout=60)
    transaction.begin()

    assert [scheduler.get_result(sid) for sid in sids] == [
        ("book0", None),
        ("book1", None),
        ("book2", None),
    ]


def test_after_a_wrong_call_there_are_no_jobs_though_it_is_committed(
    scheduler,
):
    with pytest.raises(TypeError, match=r"^call 2: shop:give"):
        scheduler.many(shop.give, [(1,), (2,), (3, 4)])
    transaction.commit()

    assert scheduler._process().unfinished() == []


def test_a_scheduler_that_is_not_stored_schedules_not_many():
    with pytest.raises(ValueError, match="store it first"):
        PersistentTransactionalScheduler().many(shop.give, [(1,)])


class Hasty(PersistentTransactionalScheduler):
    """A scheduler with values of its own."""

    timeout = 0
    workers = 1
    max_pending = 1
    max_bulk = 2
    max_conflicts = 2


def test_a_subclass_may_change_the_values(connection, gate):
    scheduler = connection.root()["hasty"] = Hasty()
    first = scheduler.schedule(shop.wait_at, "gate")
    with pytest.raises(QueueFull):
        scheduler.schedule(shop.nothing)
    with pytest.raises(BulkTooLarge, match="more than 2 calls"):
        scheduler.many(shop.nothing, [()] * 3)
    transaction.commit()
    gate.wait_for_job()
    gate.open()
    assert scheduler.wait(first, 10)
    transaction.begin()

    assert scheduler.get(first) is None  # it has expired already
    scheduler.stop()


def test_a_scheduler_of_a_later_format_is_refused_and_not_touched(scheduler):
    ran(scheduler, shop.nothing)
    scheduler.format = FORMAT + 1
    transaction.commit()

    for use in (
        lambda: scheduler.get("unknown"),
        lambda: scheduler.schedule(shop.nothing),
    ):
        with pytest.raises(StoreNotUsable, match="install a later version"):
            use()


def test_two_schedulers_of_a_database_know_nothing_of_each_other(
    connection, scheduler
):
    other = connection.root()["other"] = PersistentTransactionalScheduler()
    sid = ran(scheduler, shop.nothing)

    assert other.get(sid) is None
    assert scheduler.get(sid) is not None


def test_jobs_that_a_process_left_run_when_the_next_one_starts(tmp_path):
    def open_db():
        return DB(FileStorage(str(tmp_path / "Restart.fs")))

    db = open_db()
    with db.transaction() as connection:
        scheduler = PersistentTransactionalScheduler()
        connection.root()["scheduler"] = scheduler
    connection = db.open()
    scheduler = connection.root()["scheduler"]
    scheduler.schedule(shop.nothing)
    durable._processes[db][scheduler._p_oid].stop()
    left = scheduler.schedule(shop.give, "left")
    durable._processes[db][scheduler._p_oid].stop()
    transaction.commit()
    connection.close()
    db.close()

    db = open_db()
    connection = db.open()
    scheduler = connection.root()["scheduler"]
    scheduler.start(db)
    scheduler.start()
    assert scheduler.wait(left, 10)
    transaction.begin()
    assert scheduler.get_result(left) == ("left", None)
    transaction.commit()
    scheduler.stop()
    connection.close()
    db.close()


def test_a_job_is_cancelled_and_another_tried_again(scheduler, gate):
    shop.luck[:] = [False, True]
    failed = ran(scheduler, fail_first, "value")
    running = scheduler.schedule(shop.wait_at, "gate")
    transaction.commit()
    gate.wait_for_job()
    assert scheduler.cancel(running)
    assert scheduler.retry(failed)
    assert not scheduler.retry(running)
    assert not scheduler.cancel("unknown")
    transaction.commit()
    gate.open()
    assert scheduler.wait(timeout=60)
    transaction.begin()

    assert scheduler.get(running).state is JobState.CANCELLED
    assert scheduler.get_result(failed) == ("value", None)


def fail_first(value):
    if not shop.luck.pop(0):
        raise ValueError(value)
    return value


def test_a_subclass_says_how_many_conflicts_a_job_may_meet(root):
    del calls[:]
    root["hasty"] = Hasty()
    transaction.commit()
    sid = root["hasty"].schedule(conflict)
    transaction.commit()
    assert root["hasty"].wait(sid, 60)
    root["hasty"].stop(grace=5)

    assert len(calls) == 3


#: Who called `conflict`.
calls = []


def conflict():
    calls.append("job")
    raise ConflictError


def warnings_in(caplog):
    """List what the log tells that somebody should know."""
    return [
        record.action
        for record in caplog.records
        if record.name.startswith("pyramid_zodb_async")
        and record.levelno >= logging.WARNING
    ]


def test_jobs_of_a_removed_scheduler_end_with_one_warning(root, db, caplog):
    caplog.set_level(logging.INFO, "pyramid_zodb_async")
    gate = shop.gates["removed"] = shop.Gate()
    removed = root["removed"] = PersistentTransactionalScheduler()
    transaction.commit()
    for _ in range(6):
        removed.schedule(shop.wait_at, "removed")
    transaction.commit()
    process = removed._process()
    jobs = process.process.assigned_jobs
    shop.wait_until(lambda: jobs.new == 4)  # two of them run
    del root["removed"]
    transaction.commit()
    db.pack()
    gate.open()
    shop.wait_until(lambda: not len(jobs))
    process.stop(60)

    assert warnings_in(caplog) == ["scheduler_removed"]


def test_a_run_in_a_bulk_of_a_removed_scheduler_ends_with_one_warning(
    root, db, caplog
):
    gate = shop.gates["removed"] = shop.Gate()
    removed = root["removed"] = PersistentTransactionalScheduler()
    transaction.commit()
    removed.many(shop.wait_at, [("removed",)] * 4)
    transaction.commit()
    process = removed._process()
    gate.wait_for_job()
    del root["removed"]
    transaction.commit()
    db.pack()
    gate.open()
    shop.wait_until(lambda: not len(process.process.assigned_jobs))
    process.stop(60)

    assert warnings_in(caplog) == ["scheduler_removed"]


@pytest.mark.parametrize("way", ["read", "write"])
def test_another_object_that_is_missing_does_not_count_as_the_scheduler(
    scheduler, way
):
    location = scheduler._process().process.location

    def miss(store):
        store._p_jar.get(b"missing.")

    with pytest.raises(POSKeyError):
        getattr(location, way)(miss, "what is missing")
    assert not location.is_gone()


def test_nothing_is_read_from_a_scheduler_that_was_removed(root, db):
    removed = root["removed"] = PersistentTransactionalScheduler()
    transaction.commit()
    location = removed._process().process.location
    # so that a connection has its state, and goes on to have it
    assert location.read(lambda store: store.format, None) == FORMAT
    del root["removed"]
    transaction.commit()
    db.pack()

    def load_anew(store):
        store._p_deactivate()
        return store.format

    assert location.read(load_anew, "nothing") == "nothing"
    assert location.is_gone()
    with pytest.raises(TakenOver):
        location.write(load_anew, "nothing")


@pytest.mark.parametrize("is_run", [True, False])
def test_a_run_that_misses_another_object_than_the_scheduler_fails(
    scheduler, is_run, monkeypatch
):
    def miss(run, *args):
        raise POSKeyError(b"missing.")

    name = "_finish" if is_run else "_load"
    monkeypatch.setattr(StoredRun, name, miss)
    sid = scheduler.schedule(shop.nothing)
    transaction.commit()
    assert scheduler.wait(sid, 60)
    transaction.begin()

    assert scheduler.get(sid).state is JobState.FAILED
