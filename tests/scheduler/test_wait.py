"""What is waited for must be a committed job."""

import threading
import time

import pytest
import shop
import transaction
from pyramid.response import Response
from pyramid.scripting import prepare

from pyramid_zodb_async import (
    IScheduler,
    PersistentTransactionalScheduler,
    TransactionalScheduler,
    UnknownJob,
)
from pyramid_zodb_async.scheduler.process import waiting
from pyramid_zodb_async.testing import drain

pytestmark = pytest.mark.kept_in("memory", "zodb")


@pytest.fixture(params=[False, True], ids=["idle", "started"])
def registry(request, make_app, manager):
    """Give the registry of an application, whose process may run jobs."""
    app = make_app({"/start": shop.start}, **manager)
    if request.param:
        app.get("/jobs/unknown", status=404)
    return app.app.registry


@pytest.fixture
def script(registry):
    """Give the request of a script."""
    with prepare(registry=registry) as env:
        yield env["request"]


@pytest.mark.parametrize("delay", [None, 5, 5000])
def test_an_uncommitted_job_cannot_be_waited_for(script, registry, delay):
    scheduler = registry.getUtility(IScheduler)
    with script.tm:
        schedule = script.schedule.with_options(delay=delay)
        sid = schedule(shop.nothing)
        for wait in (scheduler.wait, script.jobs.wait):
            with pytest.raises(RuntimeError, match="has not committed"):
                wait(sid, 0.1)


def test_nor_can_another_thread_wait_for_it(script, registry):
    scheduler = registry.getUtility(IScheduler)
    errors = []

    def wait(sid):
        try:
            scheduler.wait(sid, shop.PATIENCE)
        except RuntimeError as error:
            errors.append(error)

    with script.tm:
        sid = script.schedule(shop.nothing)
        waiter = threading.Thread(target=wait, args=[sid])
        waiter.start()
        waiter.join(shop.PATIENCE)

    assert len(errors) == 1


def test_a_job_of_an_aborted_transaction_is_unknown(script, registry):
    with script.tm as current:
        sid = script.schedule(shop.nothing)
        current.doom()
        script.tm.abort()
        script.tm.begin()

    with pytest.raises(UnknownJob, match=sid):
        registry.getUtility(IScheduler).wait(sid, 0.1)
    with pytest.raises(UnknownJob, match=sid):
        script.jobs.wait(sid, 0.1)


def test_a_job_that_never_was_is_unknown(registry, script):
    scheduler = registry.getUtility(IScheduler)
    for wait in (scheduler.wait, script.jobs.wait):
        with pytest.raises(UnknownJob, match="There is no job 'nonsense'"):
            wait("nonsense", 0.1)


def test_a_job_that_is_forgotten_before_the_wait_is_unknown(make_app):
    app = make_app({"/start": shop.start})
    path = shop.begin(app, "nothing")
    drain(app)
    app.delete(path)

    with pytest.raises(UnknownJob):
        shop.scheduler_of(app).wait(shop.sid_of(path), 0.1)


def test_a_job_that_is_forgotten_during_the_wait_has_ended(make_app, gate):
    app = make_app({"/start": shop.start})
    path = shop.begin(app, "wait_at", "gate")
    gate.wait_for_job()
    scheduler = shop.scheduler_of(app)
    waiting = shop.Answer(scheduler.wait, shop.sid_of(path), shop.PATIENCE)
    assert not scheduler.wait(shop.sid_of(path), 0.3)
    with transaction.manager:
        scheduler.remove(shop.sid_of(path))

    assert waiting.get() is True


def test_an_ended_job_has_ended_as_often_as_it_is_asked(make_app):
    app = make_app({"/start": shop.start})
    path = shop.begin(app, "fail")
    drain(app)

    scheduler = shop.scheduler_of(app)
    assert scheduler.wait(shop.sid_of(path), 0)
    assert scheduler.wait(shop.sid_of(path))


def test_the_schedulers_of_scripts_say_the_same(db):
    with db.transaction() as connection:
        connection.root()["jobs"] = PersistentTransactionalScheduler()
    connection = db.open()
    stored = connection.root()["jobs"]
    in_memory = TransactionalScheduler()
    for scheduler in (stored, in_memory):
        sid = scheduler.schedule(shop.nothing)
        with pytest.raises(RuntimeError, match="has not committed"):
            scheduler.wait(sid, 0.1)
        transaction.commit()
        assert scheduler.wait(sid, shop.PATIENCE)
        with pytest.raises(UnknownJob):
            scheduler.wait("nonsense", 0.1)
        scheduler.stop(5)
    connection.close()


@pytest.mark.kept_in("zodb")
def test_the_end_of_each_of_many_jobs_costs_no_look_into_the_database(
    make_app, manager, monkeypatch
):
    app = make_app({"/start": start_many}, **manager)
    scheduler = app.app.registry.getUtility(IScheduler)
    gate = shop.gates["many"] = shop.Gate()
    app.get("/start")
    gate.wait_for_job()
    look, looks = waiting._has_ended, []

    def count(*args):
        looks.append(args)
        return look(*args)

    monkeypatch.setattr(waiting, "_has_ended", count)
    opener = threading.Timer(0.1, gate.open)
    opener.start()
    start = time.monotonic()
    assert scheduler.wait(timeout=shop.PATIENCE)
    passed = time.monotonic() - start
    opener.join()

    # at the beginning, at the end, twice a second, and while a run ends
    assert len(looks) <= 4 + 2 * passed


def start_many(request):
    """Schedule 200 jobs that follow one that waits."""
    request.schedule(shop.wait_at, "many")
    request.schedule.many(shop.nothing, [()] * 200)
    return Response("done")
