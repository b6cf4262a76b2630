"""What holds for every scheduler holds for it on every storage."""

import threading
import time

import pytest
import shop
import transaction
from persistent.list import PersistentList
from pyramid.response import Response
from shop import start
from storages import everywhere, on_lasting_storages, on_shared_storages
from ZODB.FileStorage import FileStorage

from pyramid_zodb_async import IScheduler, JobState
from pyramid_zodb_async.database.application import databases_of
from pyramid_zodb_async.testing import drain, wait_for


def fetch(request):
    return Response(repr(request.jobs.get_result(request.params["sid"])))


def start_and_fail(request):
    start(request)
    raise ZeroDivisionError


def start_and_roll_back(request):
    savepoint = request.tm.savepoint()
    start(request)
    savepoint.rollback()
    shop.history(request).append("kept")
    return Response("done")


VIEWS = {
    "/start": start,
    "/fetch": fetch,
    "/start-and-fail": start_and_fail,
    "/start-and-roll-back": start_and_roll_back,
}


@pytest.fixture
def app(make_app):
    return make_app(VIEWS, zodb_async__lease=0.3)


def begin(app, function, *arguments):
    """Start a job by a request, and give its sid."""
    params = [("function", function)]
    params += [("argument", argument) for argument in arguments]
    return app.post("/start", params).json["sid"]


@everywhere
def test_a_job_runs_after_its_commit_and_tells_what_came_of_it(app):
    sid = begin(app, "add", "word")
    drain(app)
    document = app.get(f"/jobs/{sid}").json

    assert shop.effects(app) == ["word"]
    assert document["state"] == "succeeded"
    assert document["result"] == 1


@everywhere
def test_what_was_not_committed_is_no_job(app):
    with pytest.raises(ZeroDivisionError):
        app.get("/start-and-fail", {"function": "add", "argument": "word"})
    app.get("/start-and-roll-back", {"function": "add", "argument": "word"})
    drain(app)

    assert shop.effects(app) == ["kept"]


@everywhere
def test_a_failed_job_leaves_no_effects_and_its_reason(app):
    sid = begin(app, "explain", "people read this")
    drain(app)
    document = app.get(f"/jobs/{sid}").json

    assert shop.effects(app) == []
    assert document["state"] == "failed"
    assert document["error"]["detail"] == "people read this"


@everywhere
def test_jobs_that_conflict_are_all_done_once(app):
    """They all append to one list, from several threads."""
    begin(app, "add", "first")
    drain(app)
    problems = []

    def work(name):
        try:
            for number in range(10):
                begin(app, "add", f"{name}{number}")
        except BaseException as error:
            problems.append(error)
            raise

    threads = [threading.Thread(target=work, args=[name]) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(shop.PATIENCE)
    drain(app)

    wanted = {f"{name}{number}" for name in "abcd" for number in range(10)}
    assert problems == []
    assert sorted(shop.effects(app)) == sorted(wanted | {"first"})


@everywhere
def test_persistent_objects_travel_both_ways(make_app):
    def view(request):
        shop.root(request)["list"] = PersistentList(["stored"])
        return request.accepted(
            request.schedule(append, [shop.root(request)["list"]])
        )

    def read(request):
        (found,) = request.jobs.get(request.params["sid"]).result
        assert found is shop.root(request)["list"]
        return Response(repr(list(found)))

    app = make_app({"/view": view, "/read": read})
    sid = app.get("/view").json["sid"]
    drain(app)

    assert app.get("/read", {"sid": sid}).text == "['stored', 'by the job']"


def append(lists):
    """Append to a persistent list, and give it back."""
    for each in lists:
        each.append("by the job")
    return lists


@everywhere
def test_an_outcome_can_be_fetched_once(app):
    sid = begin(app, "give", "outcome")
    wait_for(app, sid)

    assert app.get("/fetch", {"sid": sid}).text == "('outcome', None)"
    assert app.get("/fetch", {"sid": sid}).text == "None"
    app.get(f"/jobs/{sid}", status=404)


@everywhere
def test_a_job_that_is_removed_while_it_runs_leaves_no_effects(app, gate):
    scheduler = app.app.registry.getUtility(IScheduler)
    sid = begin(app, "add_and_wait_at", "gate")
    gate.wait_for_job()
    shop.in_thread(lambda: scheduler.remove(sid))
    gate.open()
    drain(app)

    assert shop.effects(app) == []
    app.get(f"/jobs/{sid}", status=404)


@everywhere
def test_an_outcome_expires(make_app):
    app = make_app(VIEWS, zodb_async__result_timeout=0.2)
    sid = begin(app, "give", "outcome")
    drain(app)
    shop.wait_until(
        lambda: app.get(f"/jobs/{sid}", status="*").status_code == 404
    )


@everywhere
def test_no_connection_stays_open(app):
    for _ in range(5):
        begin(app, "add", "word")
    drain(app)
    registry = app.app.registry
    registry.getUtility(IScheduler).stop()
    transaction.abort()

    assert shop.count_open(databases_of(registry)[""]) == 0


@on_lasting_storages
def test_jobs_that_wait_survive_a_restart(make_app, gate):
    app = make_app(VIEWS, zodb_async__workers=1)
    blocking = begin(app, "wait_at", "gate")
    gate.wait_for_job()
    waiting = [begin(app, "add", f"word{number}") for number in range(5)]
    # as if the process had been killed: nothing more is written by it
    forget(app)
    successor = make_app(VIEWS, zodb_async__lease=0.3)
    successor.get("/jobs/unknown", status=404)  # it serves
    gate.open()
    drain(successor)

    assert sorted(shop.effects(successor)) == [f"word{n}" for n in range(5)]
    for sid in [*waiting, blocking]:
        assert wait_for(successor, sid).state is JobState.SUCCEEDED


def forget(app):
    """Let an application's jobs be nobody's business in it any more."""
    registry = app.app.registry
    scheduler = registry.getUtility(IScheduler)
    for sid in scheduler.unfinished():
        scheduler.process.assigned_jobs.drop(sid)
    scheduler.stop(grace=0)
    storage = databases_of(registry)[""].storage
    if isinstance(storage, FileStorage):
        storage.close()  # which others cannot open otherwise


@on_shared_storages
def test_a_process_that_lives_keeps_its_jobs(make_app, gate):
    apps = [make_app(VIEWS, zodb_async__lease=0.6) for _ in range(2)]
    for app in apps:
        app.get("/jobs/unknown", status=404)
    scheduler = apps[0].app.registry.getUtility(IScheduler)

    def is_left_alone():
        shop.gates["gate"] = gate = shop.Gate()
        sid = begin(apps[0], "wait_at", "gate")
        gate.wait_for_job()
        time.sleep(2)  # for three leases nothing must happen
        gate.open()
        drain(apps[0])
        assert wait_for(apps[1], sid).state is JobState.SUCCEEDED
        return (
            scheduler.process.incarnation
            == scheduler.process.location.read(
                lambda store: store.find(sid).runner, None
            )
        )

    # a storage may be too slow to tell in time that the process lives
    shop.at_last(is_left_alone)


@on_shared_storages
def test_a_job_of_another_process_is_polled_and_fetched(make_app):
    here, there = (make_app(VIEWS) for _ in range(2))
    sid = begin(here, "give", "outcome")
    drain(here)

    assert there.get(f"/jobs/{sid}").json["result"] == "outcome"
    assert there.get("/fetch", {"sid": sid}).text == "('outcome', None)"
    here.get(f"/jobs/{sid}", status=404)
