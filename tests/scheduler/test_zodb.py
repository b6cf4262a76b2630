"""Jobs that are kept in the database: scheduled, fetched, removed."""

import types
from collections import deque

import pytest
import shop
import storages
import transaction
from exhausted import no_new_threads
from hand_driven import Process
from shop import wait_until
from ZODB.DB import DB
from ZODB.POSException import ConflictError
from zope.interface.verify import verifyObject

from pyramid_zodb_async import (
    DatabaseForked,
    IScheduler,
    JobError,
    PersistentTransactionalScheduler,
    QueueFull,
)
from pyramid_zodb_async.contracts import IRun, ISchedulerCore, ITransactionJob
from pyramid_zodb_async.database.application import databases_of
from pyramid_zodb_async.database.connections import (
    OpenedConnections,
    current_connections,
)
from pyramid_zodb_async.jobs.model import JobState
from pyramid_zodb_async.jobs.owners import as_owner
from pyramid_zodb_async.scheduler.maintenance.live_incarnations import (
    LIVE_INCARNATIONS,
)
from pyramid_zodb_async.testing import drain


def fetch(process, sid):
    """Fetch the outcome of a job."""
    transaction.begin()
    return process.scheduler.get_result(sid)


# the contract


def test_it_keeps_the_contract(process):
    assert verifyObject(ISchedulerCore, process.scheduler)


def test_a_job_of_a_transaction_and_a_run_keep_theirs(process):
    sid = process.schedule(shop.nothing)
    connections = current_connections()
    run = process.scheduler.claim(sid)

    assert verifyObject(
        ITransactionJob, process.scheduler.find(sid, connections)
    )
    assert verifyObject(IRun, run)
    run.close()


# outcomes


def test_a_failure_keeps_its_exception(process):
    sid = process.schedule(shop.give_and_raise, "broken")
    process.run()
    transaction.begin()
    value, error = process.scheduler.get_result(sid)

    assert value is None
    assert type(error) is ZeroDivisionError
    assert error.args == ("broken",)
    assert process.scheduler.get_result(sid) is None


def test_an_aborted_reader_brings_the_outcome_back(process):
    sid = process.schedule(shop.give, "outcome")
    process.run()
    transaction.begin()
    savepoint = transaction.savepoint()
    assert process.scheduler.get_result(sid) == ("outcome", None)
    assert process.scheduler.get_result(sid) is None
    savepoint.rollback()
    assert process.scheduler.get_result(sid) == ("outcome", None)
    transaction.abort()
    assert process.scheduler.get_result(sid) == ("outcome", None)
    transaction.commit()

    assert process.scheduler.get_result(sid) is None
    assert process.scheduler.completed(sid) is None


def test_of_two_readers_of_an_outcome_one_conflicts(process, db):
    sid = process.schedule(shop.give, "outcome")
    process.run()
    readers = []
    for _ in range(2):
        manager = transaction.TransactionManager(explicit=True)
        manager.begin()
        connections = OpenedConnections(manager)
        outcome = process.scheduler.get_result(sid, connections)
        assert outcome == ("outcome", None)
        readers.append((manager, connections))
    (first, opened), (second, opened_too) = readers
    first.commit()
    with pytest.raises(ConflictError):
        second.commit()
    second.abort()
    opened.close()
    opened_too.close()


remover = []


def test_a_job_may_remove_another(process):
    sid = process.schedule(remove_other)
    unwanted = process.schedule(shop.nothing)
    remover.extend([process.scheduler, unwanted])
    process.run(sid)
    remover.clear()

    assert process.view(sid).state is JobState.SUCCEEDED
    assert process.view(unwanted) is None
    assert process.run(unwanted) is None
    assert process.scheduler.unfinished() == []


def remove_other():
    """Remove another job."""
    scheduler, sid = remover
    scheduler.remove(sid)


def test_a_job_removed_before_its_commit_is_not_handed_over(process):
    sid = process.scheduler.schedule(shop.nothing)
    process.scheduler.remove(sid)
    transaction.commit()

    assert process.engine.submitted == []
    assert process.scheduler.unfinished() == []


@pytest.mark.parametrize("way", ["scheduled", "taken over"])
def test_waiting_jobs_share_what_they_have_in_common(process, other, way):
    sids = []
    for _ in range(2):
        transaction.begin()
        sid = process.scheduler.schedule_call(
            shop.nothing,
            (),
            {},
            current_connections(),
            owner=as_owner("ann"),
            base_url=b"https://shop.example".decode(),
        )
        transaction.commit()
        sids.append(sid)
    holder = process
    if way == "taken over":
        process.stop()
        holder = other
        holder.take_over()
    jobs = [holder.scheduler.process.assigned_jobs.get(sid) for sid in sids]

    assert jobs[0].owner.kind == "str"
    for name in ("function", "owner", "base_url", "fence", "options"):
        first, second = (getattr(job, name) for job in jobs)
        assert first is second


def test_an_unknown_job_can_be_removed_in_peace(process):
    process.scheduler.remove("unknown")
    transaction.commit()


# the queue


def test_a_full_queue_refuses_and_a_rollback_makes_room(db):
    process = Process(db, max_pending=2)
    transaction.begin()
    savepoint = transaction.savepoint()
    for _ in range(2):
        process.scheduler.schedule(shop.nothing)
    with pytest.raises(QueueFull):
        process.scheduler.schedule(shop.nothing)
    savepoint.rollback()
    for _ in range(2):
        process.scheduler.schedule(shop.nothing)
    transaction.commit()
    with pytest.raises(QueueFull):
        process.scheduler.schedule(shop.nothing)
    transaction.abort()
    process.run()
    process.scheduler.schedule(shop.nothing)
    process.stop()


def test_a_process_that_is_stopped_leaves_its_jobs_to_others(process, other):
    process.stop()
    sid = process.schedule(shop.nothing)
    assert process.engine.submitted == []
    assert process.view(sid).state is JobState.PENDING
    other.take_over()
    other.run()

    assert process.view(sid).state is JobState.SUCCEEDED


def test_starting_and_stopping_twice_is_doing_it_once(process):
    process.scheduler.start(recover=False)
    process.scheduler.start()
    process.scheduler.start()
    process.scheduler.stop()
    process.scheduler.stop()


def test_a_job_that_could_not_be_added_is_not_handed_over(
    process, monkeypatch
):
    def fail(connection):
        raise OSError("the storage is away")

    with monkeypatch.context() as patched:
        patched.setattr(process.location, "make", fail)
        with pytest.raises(OSError, match="away"):
            process.scheduler.schedule(shop.nothing)
    transaction.commit()  # of a caller that goes on

    assert process.engine.submitted == []


# storages that are away


def test_a_database_of_another_process_is_refused(process, monkeypatch):
    assert process.location.db  # it is open before this is another process
    monkeypatch.setattr(process.location, "_process", -1)
    with pytest.raises(DatabaseForked, match="was forked from -1"):
        process.scheduler.schedule(shop.nothing)
    monkeypatch.undo()


@pytest.mark.parametrize("timeout", [1e12, float("inf")])
def test_an_outcome_may_be_kept_for_ever(db, timeout):
    process = Process(db, timeout=timeout)
    sid = process.schedule(shop.give, "outcome")
    process.run()
    view = process.view(sid)
    process.stop()

    assert view.expires is None
    assert view.result == "outcome"


def test_a_process_does_not_take_over_from_itself(db, process, product):
    beside = Process(db)
    LIVE_INCARNATIONS.update(
        {
            process.scheduler.process.incarnation,
            beside.scheduler.process.incarnation,
        }
    )
    sid = process.schedule(shop.nothing)
    beside.take_over()
    assert beside.engine.submitted == []
    process.run()
    beside.stop()

    assert process.view(sid).attempt == 1


def test_a_view_does_not_load_through_a_connection_that_was_closed(
    db, process
):
    with db.transaction() as connection:
        scheduler = PersistentTransactionalScheduler()
        connection.root()["scheduler"] = scheduler
    connection = db.open()
    scheduler = connection.root()["scheduler"]
    sid = scheduler.schedule(shop.give, ["outcome"])
    transaction.commit()
    assert scheduler.wait(sid, 60)
    transaction.begin()
    view = scheduler.get(sid)
    scheduler.stop()
    # a scheduler that was stopped stays so
    left = scheduler.schedule(shop.nothing)
    transaction.commit()
    assert not scheduler.wait(left, 0.2)
    transaction.abort()
    connection.close()

    with pytest.raises(JobError, match="was closed"):
        _ = view.result


@pytest.mark.kept_in("zodb")
def test_a_process_gives_signs_of_life_while_it_waits_for_its_last_jobs(
    make_app, tmp_path, gate
):
    with storages.sqlite(tmp_path) as uri:
        app = make_app(
            {"/start": shop.start},
            zodbconn__uri=uri,
            zodb_async__lease="0.5",
            zodb_async__grace="60",
        )
        shop.begin(app, "wait_at", "gate")
        gate.wait_for_job()
        scheduler = app.app.registry.getUtility(IScheduler)
        stop = shop.Answer(scheduler.stop)
        wait_until(lambda: not scheduler.runs_jobs)

        def beats():
            return scheduler.process.location.read(
                lambda store: (
                    store.beat_of(scheduler.process.incarnation).count
                ),
                0,
            )

        before = beats()
        wait_until(lambda: beats() > before + 1)
        assert not stop.has_come
        gate.open()
        assert stop.get() == []
        shop.shut_down(app.app.registry)


@pytest.mark.kept_in("zodb")
def test_a_process_that_is_started_while_it_stops_goes_on(
    make_app, gate, monkeypatch
):
    app = make_app({"/start": shop.start}, zodb_async__grace="0.1")
    path = shop.begin(app, "wait_at", "gate")
    gate.wait_for_job()
    scheduler = app.app.registry.getUtility(IScheduler)
    engine = scheduler.process.dispatcher.engine

    def stop_after_start(grace):
        scheduler.start()
        return engine.stop(grace)

    slow = types.SimpleNamespace(start=engine.start, stop=stop_after_start)
    monkeypatch.setattr(scheduler.process.dispatcher, "engine", slow)
    assert len(scheduler.stop()) == 1
    gate.open()
    monkeypatch.undo()
    paths = [path, shop.begin(app, "give", "later")]
    drain(app, shop.PATIENCE)

    assert scheduler.runs_jobs
    assert [app.get(path).json["result"] for path in paths] == [
        "gate",
        "later",
    ]


@pytest.mark.kept_in("zodb")
def test_a_process_whose_engine_fails_to_start_runs_no_jobs(
    make_app, monkeypatch
):
    app = make_app({"/start": shop.start})
    scheduler = app.app.registry.getUtility(IScheduler)
    engine = scheduler.process.dispatcher.engine

    def fail():
        raise OSError("no engine")

    with monkeypatch.context() as patch:
        patch.setattr(engine, "start", fail)
        with pytest.raises(OSError, match="no engine"):
            scheduler.start()
        assert not scheduler.runs_jobs
        assert scheduler.stop() == []
    scheduler.start()

    assert scheduler.runs_jobs


@pytest.mark.kept_in("zodb")
@pytest.mark.parametrize("engine", ["threads", "inline"])
def test_a_job_without_a_thread_runs_though_no_other_job_comes(
    make_app, caplog, engine
):
    app = make_app(
        {"/start": shop.start},
        zodb_async__engine=engine,
        zodb_async__autostart="true",
        zodb_async__lease="0.3",
    )
    with no_new_threads():
        path = shop.begin(app, "give", "given")
        (record,) = caplog.records
        assert record.action == "worker_not_started"
    drain(app, shop.PATIENCE)

    assert app.get(path).json["result"] == "given"


@pytest.mark.kept_in("zodb")
def test_a_database_in_the_place_of_one_that_was_closed_is_used(make_app):
    app = make_app({"/start": shop.start})
    shop.begin(app, "give", "before")
    drain(app)
    databases = databases_of(app.app.registry)
    databases[""].close()
    databases[""] = DB(None, database_name="")
    path = shop.begin(app, "give", "after")
    drain(app)

    assert app.get(path).json["result"] == "after"


@pytest.mark.kept_in("zodb")
def test_a_process_that_is_stopped_has_requests_wait_all_the_same(make_app):
    app = make_app({"/start": shop.start}, zodb_async__max_wait="0.1")
    shop.begin(app, "give", "sooner")
    app.app.registry.getUtility(IScheduler).stop()
    path = shop.begin(app, "give", "later")
    answer = app.get(path, headers={"Prefer": "wait=1"})

    assert answer.headers["Preference-Applied"] == "wait=0.1"
    assert answer.json["state"] == "pending"


class Contended(deque):
    """A queue that another thread empties whenever it has been looked at."""

    def __len__(self):
        return 1


def test_jobs_are_handed_over_though_another_thread_does_so_too(process):
    process.scheduler._committed = Contended()
    sid = process.schedule(shop.nothing)

    assert process.engine.submitted == [sid]
