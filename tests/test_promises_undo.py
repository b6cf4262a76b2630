"""Promise 12: what was undone stays undone."""

import threading

import pytest
import shop
import transaction
import undoing
from persistent.list import PersistentList
from storages import on_shared_storages, on_undoing_storages
from ZODB.POSException import MultipleUndoErrors, UndoError

from pyramid_zodb_async import (
    IScheduler,
    JobState,
    JobUndone,
    PersistentTransactionalScheduler,
)
from pyramid_zodb_async.database.application import databases_of
from pyramid_zodb_async.events import JobWasCancelled
from pyramid_zodb_async.testing import drain, wait_for

ON_FILE = pytest.mark.parametrize(("kept_in", "storage"), [("zodb", "file")])


class Trouble(Exception):
    """Passes by itself."""


#: How often `add_in_spite` has raised.
troubles = []


def add_in_spite(word):
    """Leave an effect at the second attempt."""
    if not troubles:
        troubles.append(word)
        raise Trouble
    return shop.add(word)


def start(request):
    """Schedule a job, and name the transaction."""
    request.tm.get().note("start")
    name = request.params["function"]
    function = globals().get(name) or getattr(shop, name)
    schedule = request.schedule
    if "delay" in request.params:
        schedule = schedule.with_options(delay=float(request.params["delay"]))
    if name == "add_in_spite":
        schedule = schedule.with_options(retry_on=Trouble, backoff=(0.01, 1))
    sid = schedule(function, *request.params.getall("argument"))
    return request.accepted(sid)


def fetch(request):
    return list(request.jobs.get_result(request.params["sid"]))


@pytest.fixture
def told():
    """The events that a job is cancelled."""
    return []


@pytest.fixture
def new_process(make_app, told):
    """Make processes of an application, with a short lease."""

    def configure(config):
        config.add_subscriber(told.append, JobWasCancelled)
        config.add_route("fetch", "/fetch")
        config.add_view(fetch, route_name="fetch", renderer="json")

    def make(**settings):
        settings = {"zodb_async__lease": 1} | settings
        return make_app({"/start": start}, configure=configure, **settings)

    return make


@pytest.fixture
def app(new_process):
    troubles.clear()
    return new_process()


def begin(app, function, *arguments, **options):
    params = [("function", function), *options.items()]
    params += [("argument", argument) for argument in arguments]
    return app.post("/start", params).json["sid"]


def scheduler_of(app):
    return app.app.registry.getUtility(IScheduler)


def undo(app, *notes):
    """Undo the last transaction of each of these notes, in one."""
    undoing.undo(databases_of(app.app.registry)[""], *notes)


def undone(app, sid):
    """Wait until a job is cancelled since it was undone."""
    view = wait_for(app, sid)
    assert view.state is JobState.CANCELLED
    assert view.failure.type == "JobUndone"
    return view


# what is promised


@on_undoing_storages
def test_what_a_job_did_and_was_undone_stays_undone(app):
    sid = begin(app, "add", "once")
    seen = wait_for(app, sid)
    assert shop.effects(app) == ["once"]
    undo(app, f"job {sid}")
    view = undone(app, sid)

    assert view.version > seen.version
    assert shop.effects(app) == []


@on_undoing_storages
def test_it_stays_undone_over_a_restart(app, new_process, storage):
    sid = begin(app, "add", "once")
    seen = wait_for(app, sid)
    scheduler_of(app).stop()
    undo(app, f"job {sid}")
    if storage == "file":  # which one process at a time can open
        databases_of(app.app.registry)[""].close()
    after = new_process(zodb_async__autostart=True)
    view = undone(after, sid)

    assert view.version > seen.version
    assert shop.effects(after) == []


@on_shared_storages
def test_a_job_of_a_dead_process_stays_undone(app, new_process):
    dead = new_process()
    sid = begin(dead, "add", "once")
    wait_for(dead, sid)
    scheduler_of(dead).stop()
    undo(app, f"job {sid}, ")
    scheduler_of(app).start()
    undone(app, sid)

    assert shop.effects(app) == []


@on_undoing_storages
def test_a_retry_does_it_again(app):
    sid = begin(app, "add", "once")
    wait_for(app, sid)
    undo(app, f"job {sid}")
    seen = undone(app, sid)
    retried = app.post(f"/jobs/{sid}/retry")
    view = wait_for(app, sid)

    assert retried.json["version"] > seen.version
    assert view.state is JobState.SUCCEEDED
    assert view.failure is None
    assert shop.effects(app) == ["once"]


@on_undoing_storages
def test_a_retry_can_be_undone_too(app):
    sid = begin(app, "add", "once")
    wait_for(app, sid)
    for _ in range(3):
        undo(app, f"job {sid}")
        seen = undone(app, sid)
        app.post(f"/jobs/{sid}/retry")
        view = wait_for(app, sid)
        assert view.state is JobState.SUCCEEDED
        assert view.version > seen.version
        assert shop.effects(app) == ["once"]


# what can be undone


@ON_FILE
def test_a_job_whose_failure_was_undone_is_cancelled(app):
    sid = begin(app, "fail")
    seen = wait_for(app, sid)
    undo(app, f"job {sid} failed")
    view = undone(app, sid)

    assert view.version > seen.version


@ON_FILE
def test_a_job_whose_cancel_was_undone_is_cancelled(app, gate):
    """To have it run after all, it is retried."""
    sid = begin(app, "add", "late", delay="10000")
    app.delete(f"/jobs/{sid}")
    undo(app, f"job {sid} is cancelled")
    undone(app, sid)
    app.post(f"/jobs/{sid}/retry")

    assert wait_for(app, sid).state is JobState.SUCCEEDED
    assert shop.effects(app) == ["late"]


@on_undoing_storages
def test_a_job_that_was_tried_again_stays_undone(app):
    sid = begin(app, "add_in_spite", "at last")
    wait_for(app, sid)
    assert shop.effects(app) == ["at last"]
    undo(app, f"job {sid}, attempt 2")
    undone(app, sid)

    assert shop.effects(app) == []


@ON_FILE
def test_a_job_stays_undone_with_all_that_became_of_it(app):
    sid = begin(app, "add_in_spite", "at last")
    wait_for(app, sid)
    undo(app, f"job {sid}, attempt 2", f"job {sid} will be tried again")
    undone(app, sid)

    assert shop.effects(app) == []


@ON_FILE
def test_a_job_stays_undone_that_is_undone_step_by_step(app, new_process):
    sid = begin(app, "add_in_spite", "at last")
    wait_for(app, sid)
    scheduler_of(app).stop()  # so that no look comes in between
    undo(app, f"job {sid}, attempt 2")
    undo(app, f"job {sid} will be tried again")
    databases_of(app.app.registry)[""].close()
    after = new_process(zodb_async__autostart=True)
    undone(after, sid)

    assert shop.effects(after) == []


@ON_FILE
def test_that_it_stays_undone_can_be_undone_in_vain(app):
    sid = begin(app, "add", "once")
    wait_for(app, sid)
    undo(app, f"job {sid}, ")
    seen = undone(app, sid)
    undo(app, "undone jobs stay so")
    view = undone(app, sid)

    assert view.version > seen.version
    assert shop.effects(app) == []


@on_undoing_storages
def test_an_undo_is_undone_together_with_what_followed_it(app):
    sid = begin(app, "add", "once")
    wait_for(app, sid)
    undo(app, f"job {sid}, ")
    undone(app, sid)
    undo(app, "undone jobs stay so", f"undo of job {sid}")
    view = wait_for(app, sid)

    assert view.state is JobState.SUCCEEDED
    assert view.result == 1
    assert shop.effects(app) == ["once"]


@ON_FILE
def test_an_undo_cannot_be_undone_alone_once_its_job_is_cancelled(app):
    sid = begin(app, "add", "once")
    wait_for(app, sid)
    undo(app, f"job {sid}, ")
    undone(app, sid)
    with pytest.raises(MultipleUndoErrors):
        undo(app, f"undo of job {sid}")

    assert shop.effects(app) == []


# the transaction that scheduled a job


def is_gone(app, sid):
    return app.get(f"/jobs/{sid}", status="*").status_code == 404


@on_undoing_storages
def test_a_waiting_job_whose_scheduling_is_undone_does_not_run(app, gate):
    sids = [begin(app, "wait_at", "gate") for _ in range(2)]  # all workers
    gate.wait_for_job()
    sid = begin(app, "add", "never")
    undo(app, "start")
    gate.open()
    shop.wait_until(lambda: is_gone(app, sid))
    drain(app)

    assert not any(is_gone(app, it) for it in sids)
    assert shop.effects(app) == []


@on_undoing_storages
def test_a_running_job_whose_scheduling_is_undone_leaves_nothing(app, gate):
    sid = begin(app, "add_and_wait_at", "gate")
    gate.wait_for_job()
    undo(app, "start")
    gate.open()
    # its commit conflicts, and then it finds no job
    shop.wait_until(lambda: is_gone(app, sid))

    assert shop.effects(app) == []


@on_undoing_storages
def test_the_scheduling_of_a_job_that_ended_is_undone_together_with_it(app):
    sid = begin(app, "add", "once")
    wait_for(app, sid)
    with pytest.raises(UndoError):
        undo(app, "start")
    undo(app, f"job {sid}, ", "start")
    drain(app)

    assert is_gone(app, sid)
    assert shop.effects(app) == []


# who is told


@ON_FILE
def test_whoever_asks_or_listens_is_told(app, told):
    sid = begin(app, "add", "once")
    wait_for(app, sid)
    undo(app, f"job {sid}, ")
    undone(app, sid)
    shop.wait_until(lambda: told)
    (event,) = told
    document = app.get(f"/jobs/{sid}").json

    assert event.job.sid == sid
    assert event.job.state is JobState.CANCELLED
    assert document["state"] == "cancelled"
    assert document["error"] == {
        "type": "JobUndone",
        "title": "The job was undone",
        "detail": "What the job did was undone.",
    }
    assert "result" not in document


@ON_FILE
def test_who_fetches_an_undone_job_gets_an_error_that_says_so(app):
    sid = begin(app, "add", "once")
    wait_for(app, sid)
    undo(app, f"job {sid}, ")
    undone(app, sid)
    with transaction.manager:
        connection = databases_of(app.app.registry)[""].open()
        value, error = scheduler_of(app).get_result(sid)
    connection.close()

    assert value is None
    assert isinstance(error, JobUndone)
    assert sid in str(error)


@on_shared_storages
def test_a_poll_that_is_held_elsewhere_is_answered(app, new_process):
    other = new_process()
    sid = begin(app, "add", "once")
    wait_for(app, sid)
    seen = other.get(f"/jobs/{sid}")
    prefer = {"Prefer": f"wait={shop.PATIENCE}"}
    answers = []

    def poll():
        answers.append(other.get(f"/jobs/{sid}", headers=prefer))

    scheduler_of(app).stop()
    undo(app, f"job {sid}, ")
    # another process may see the undo a moment later
    shop.wait_until(
        lambda: other.get(f"/jobs/{sid}").json["state"] == "pending"
    )
    known = {"If-None-Match": seen.headers["ETag"]}
    assert other.get(f"/jobs/{sid}", headers=known).status_code == 304
    poller = threading.Thread(target=poll)
    poller.start()
    scheduler_of(app).start()
    poller.join(shop.PATIENCE)

    assert answers[0].json["state"] == "cancelled"
    assert answers[0].json["version"] > seen.json["version"]


# while it runs


@on_undoing_storages
def test_a_run_leaves_nothing_whose_retry_is_undone(app, gate):
    sid = begin(app, "add_and_wait_at", "gate")
    gate.wait_for_job()
    gate.open()
    wait_for(app, sid)
    undo(app, f"job {sid}, ")
    undone(app, sid)
    shop.gates["gate"] = again = shop.Gate()
    app.post(f"/jobs/{sid}/retry")
    again.wait_for_job()
    undo(app, f"job {sid} is tried again")
    again.open()
    undone(app, sid)
    drain(app)

    assert scheduler_of(app).get(sid).state is JobState.CANCELLED
    assert shop.effects(app) == []


# what cannot be undone, and where


@on_undoing_storages
def test_what_a_job_did_that_was_forgotten_can_be_undone(app):
    sid = begin(app, "add", "once")
    wait_for(app, sid)
    app.delete(f"/jobs/{sid}", status=204)
    app.get(f"/jobs/{sid}", status=404)
    forget = scheduler_of(app).process.removals
    shop.wait_until(lambda: len(forget) == 0)
    app.get(f"/jobs/{sid}", status=404)
    undo(app, f"job {sid}, ")

    assert undone(app, sid)
    assert shop.effects(app) == []


@on_undoing_storages
def test_a_job_whose_outcome_was_fetched_cannot_be_undone(app):
    sid = begin(app, "add", "once")
    wait_for(app, sid)
    assert app.get(f"/fetch?sid={sid}").json == [1, None]
    with pytest.raises(UndoError):
        undo(app, f"job {sid}, ")

    assert shop.effects(app) == ["once"]


@pytest.mark.parametrize(("kept_in", "storage"), [("zodb", "forgetful")])
def test_a_storage_without_history_runs_jobs_and_undoes_none(app, new_process):
    db = databases_of(app.app.registry)[""]
    assert not db.supportsUndo()
    gone = new_process(zodb_async__engine="manual")
    sid = begin(gone, "add", "once")
    scheduler_of(gone).stop(0)
    scheduler_of(app).start()

    assert wait_for(app, sid).state is JobState.SUCCEEDED


@pytest.mark.kept_in("memory")
def test_in_memory_the_outcome_stays_and_only_effects_are_undone(app):
    sid = begin(app, "add", "once")
    wait_for(app, sid)
    undo(app, f"job {sid}, ")
    view = wait_for(app, sid)

    assert view.state is JobState.SUCCEEDED
    assert shop.effects(app) == []


# elsewhere in the database


def add_word(words, word):
    words.append(word)


def test_a_job_of_a_persistent_scheduler_stays_undone(db):
    with db.transaction() as connection:
        root = connection.root()
        root["words"] = PersistentList()
        scheduler = root["scheduler"] = PersistentTransactionalScheduler()
    connection = db.open()
    root = connection.root()
    scheduler = root["scheduler"]
    scheduler._process().process.lease = 1
    with transaction.manager:
        sid = scheduler.schedule(add_word, root["words"], "once")
    assert scheduler.wait(sid, shop.PATIENCE)
    with transaction.manager:
        assert list(root["words"]) == ["once"]
        newest = db.undoLog(0, 10)[0]
        assert sid in newest["description"]
    with transaction.manager as current:
        db.undo(newest["id"], current)
    assert scheduler.wait(sid, shop.PATIENCE)
    with transaction.manager:
        view = scheduler.get(sid)
        words = list(root["words"])
    scheduler.stop()
    connection.close()

    assert view.state is JobState.CANCELLED
    assert view.failure.type == "JobUndone"
    assert words == []
