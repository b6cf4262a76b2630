"""What the package sees to around each request."""

import atexit
import threading

import pytest
import shop
import transaction
from exhausted import no_new_threads
from pyramid.response import Response
from transaction.interfaces import TransientError

from pyramid_zodb_async import IScheduler
from pyramid_zodb_async.database.application import databases_of
from pyramid_zodb_async.scheduler.maintenance.live_incarnations import (
    LIVE_INCARNATIONS,
)
from pyramid_zodb_async.testing import drain

pytestmark = pytest.mark.kept_in("zodb")


@pytest.fixture
def housekeepers():
    """List the threads that look after jobs since the test began."""
    before = set(threading.enumerate())
    return lambda: [
        thread
        for thread in threading.enumerate()
        if thread.name == "zodb_async-housekeeper"
        if thread not in before
    ]


def test_a_process_runs_jobs_from_its_first_request_on(make_app, housekeepers):
    app = make_app({"/view": lambda request: Response("done")})
    scheduler = app.app.registry.getUtility(IScheduler)
    assert not scheduler.runs_jobs
    assert housekeepers() == []
    app.get("/view")
    app.get("/view")

    assert scheduler.runs_jobs
    assert len(housekeepers()) == 1
    scheduler.stop()
    assert housekeepers() == []


def test_with_autostart_it_does_not_wait_for_a_request(make_app):
    app = make_app(zodb_async__autostart="true")

    assert app.app.registry.getUtility(IScheduler).runs_jobs


def test_many_first_requests_start_it_once(make_app, housekeepers):
    app = make_app({"/view": lambda request: Response("done")})
    together = threading.Barrier(8)

    def visit():
        together.wait(60)
        app.get("/view")

    threads = [threading.Thread(target=visit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(housekeepers()) == 1


def test_a_storage_that_is_away_is_asked_again_by_the_next_request(
    make_app, caplog
):
    def view(request):
        return request.accepted(request.schedule(shop.nothing))

    app = make_app({"/view": view})
    registry = app.app.registry
    databases = databases_of(registry)
    registry._zodb_databases = Away(databases)
    scheduler = registry.getUtility(IScheduler)
    with pytest.raises(OSError, match="no route"):
        app.get("/jobs/unknown")
    assert not scheduler.runs_jobs
    assert "the next request tries again" in caplog.text
    registry._zodb_databases = databases
    app.get("/view", status=202)
    drain(app)

    assert scheduler.runs_jobs


@pytest.mark.parametrize("engine", ["threads", "inline"])
def test_a_process_without_a_thread_for_its_jobs_says_so_and_tries_again(
    make_app, caplog, engine, at_exit
):
    def view(request):
        return request.accepted(request.schedule(shop.give, "given"))

    app = make_app({"/view": view}, zodb_async__engine=engine)
    scheduler = app.app.registry.getUtility(IScheduler)
    with no_new_threads():
        sid = app.get("/view", status=202).json["sid"]
    actions = [record.action for record in caplog.records]
    assert actions == [
        "housekeeper_not_started",
        "scheduler_not_started",
        "jobs_left",
    ]
    assert "the next request tries again" in caplog.text
    assert not scheduler.runs_jobs
    assert scheduler.process.incarnation not in LIVE_INCARNATIONS
    assert at_exit() == []
    assert scheduler.stop() == []
    app.get(f"/jobs/{sid}")
    assert scheduler.runs_jobs
    drain(app)

    assert app.get(f"/jobs/{sid}").json["result"] == "given"


@pytest.fixture
def at_exit(monkeypatch):
    """List what the end of the interpreter would call."""
    called = []
    register, unregister = atexit.register, atexit.unregister

    def note(function):
        called.append(function)
        return register(function)

    def forget(function):
        called[:] = [known for known in called if known != function]
        unregister(function)

    monkeypatch.setattr(atexit, "register", note)
    monkeypatch.setattr(atexit, "unregister", forget)
    return lambda: list(called)


class Away(dict):
    """Databases that cannot be reached for now."""

    def __getitem__(self, name):
        raise OSError("no route to the storage")

    def get(self, name, default=None):
        return default


def test_a_store_that_cannot_be_used_leaves_the_application_alone(
    make_app, caplog
):
    def spoil(request):
        shop.root(request)["pyramid_zodb_async"] = shop.Product("spoiled")
        return Response("spoiled")

    app = make_app({"/spoil": spoil})
    # before the first request would make a store
    with databases_of(app.app.registry)[""].transaction() as connection:
        connection.root()["pyramid_zodb_async"] = shop.Product("ours")
    app.get("/spoil", status=200)
    app.get("/spoil", status=200)

    assert caplog.text.count("This process runs no jobs.") == 1
    assert "but a Product" in caplog.text


class AwayOnce:
    """A synchronizer, as connections are, whose storage is away once."""

    times = 1

    def newTransaction(self, txn):
        if self.times:
            self.times -= 1
            raise TransientError("the storage is away")

    def beforeCompletion(self, txn):
        """Have nothing to do."""

    afterCompletion = beforeCompletion  # noqa: N815 - the interface's


@pytest.mark.kept_in("memory", "zodb")
def test_an_attempt_commits_whose_predecessor_could_not_begin(make_app):
    """Without the tween pyramid_tm answers 200, and commits nothing."""

    def view(request):
        shop.history(request).append("done")
        return request.response

    app = make_app({"/view": view})
    away = AwayOnce()
    transaction.manager.registerSynch(away)
    try:
        assert app.get("/view").status_int == 200
    finally:
        transaction.manager.unregisterSynch(away)
    assert not away.times
    assert shop.effects(app) == ["done"]
