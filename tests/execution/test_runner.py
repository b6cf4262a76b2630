"""How a job is run, and what surrounds it."""

import functools
import logging
import sys
import threading
import time

import pytest
import shop
import transaction
from pyramid.threadlocal import get_current_request
from shop import wait_until
from transaction.interfaces import TransientError
from ZODB.POSException import ConflictError

from pyramid_zodb_async import (
    IEngine,
    IScheduler,
    JobError,
    JobState,
    current_job,
    transactional,
)
from pyramid_zodb_async.events import JobSucceeded
from pyramid_zodb_async.execution import rules
from pyramid_zodb_async.execution.runner import Runner
from pyramid_zodb_async.execution.surroundings import bare_thread
from pyramid_zodb_async.scheduler.in_memory.run import MemoryRun
from pyramid_zodb_async.scheduler.process.run import StoredRun
from pyramid_zodb_async.testing import drain, wait_for

pytestmark = pytest.mark.kept_in("memory", "zodb")


def test_a_job_that_is_not_known_is_not_run(make_app):
    registry = make_app().app.registry
    scheduler = registry.getUtility(IScheduler)

    assert Runner(scheduler, bare_thread).run("unknown") is None


class Telling(JobError):
    """An error that reads what it is about only when it is printed."""

    def __init__(self, product):
        super().__init__(product)
        self.product = product

    def __str__(self):
        return f"{self.product.name} is sold out"


def sell():
    """Fail over a product."""
    product = shop.root()["product"]
    product.price = 0
    raise Telling(product)


def test_an_error_may_read_what_it_is_about(run):
    def root(request):
        shop.root(request).setdefault("product", shop.Product("This book"))
        return {}

    view = run(sell, root=root)

    assert view.failure.message == "This book is sold out"
    assert view.failure.public


def overrule():
    """Remove the job in which this runs, and fail."""
    registry = get_current_request().registry
    scheduler, sid = registry.getUtility(IScheduler), current_job().sid
    shop.in_thread(lambda: scheduler.remove(sid))
    raise ValueError


def test_an_error_of_a_job_that_was_removed_is_only_logged(
    make_app, caplog, engine
):
    def view(request):
        request.schedule(overrule)
        return request.response

    app = make_app({"/view": view}, **engine)
    app.get("/view")
    drain(app)

    (record,) = [
        record for record in caplog.records if ".execution." in record.name
    ]
    assert record.action == "job_overruled"
    assert record.levelname == "WARNING"


def test_many_conflicts_do_not_end_the_counting(run, monkeypatch):
    monkeypatch.setattr(rules, "GREATEST_DELAY", 0)
    shop.attempts.clear()
    view = run(shop.conflict, 1100, zodb_async__max_conflicts=1100)

    assert view.result == 1101


@transactional
def conflict_transactionally():
    """Leave an effect, and conflict the first time."""
    shop.add("word")
    shop.attempts.append(None)
    if len(shop.attempts) == 1:
        raise ConflictError


def test_a_conflict_in_a_transactional_function_repeats_the_whole_job(run):
    shop.attempts.clear()
    run(conflict_transactionally)

    assert shop.effects(run.app) == ["word"]


def commit_and_conflict():
    """Meet a conflict when there is no transaction to ask."""
    shop.add("word")
    get_current_request().tm.commit()
    if len(shop.effects_here()) < 3:
        raise ConflictError
    return "done"


def test_a_conflict_after_a_commit_of_ones_own_repeats_the_job(run):
    assert run(commit_and_conflict).result == "done"
    assert shop.effects(run.app) == ["word"] * 3


def lose_the_transaction_and_fail():
    """Fail when there is no transaction to ask."""
    get_current_request().tm.abort()
    raise ValueError


def test_an_error_after_an_abort_of_ones_own_fails_the_job(run):
    assert run(lose_the_transaction_and_fail).failure.type == "ValueError"


def test_the_log_tells_of_success_failure_and_repetition(run, caplog):
    caplog.set_level(logging.INFO, "pyramid_zodb_async")
    shop.attempts.clear()
    sid = run(shop.conflict, 1).sid
    failed = run(shop.fail, "secret").sid
    told = [
        (record.action, record.sid, record.levelname)
        for record in caplog.records
        if hasattr(record, "action")
    ]

    assert told == [
        ("job_repeated", sid, "INFO"),
        ("job_succeeded", sid, "INFO"),
        ("job_failed", failed, "ERROR"),
    ]
    assert caplog.records[-1].exc_info[0] is ValueError
    assert all(
        record.sid in record.getMessage()
        for record in caplog.records
        if hasattr(record, "sid")
    )


class DriverError(Exception):
    """What a driver of a storage raises; no class of the ZODB."""


class StorageAway(DriverError, TransientError):
    """The same of a storage that says that it is away."""


def test_a_job_whose_storage_fails_is_repeated(run, refuse):
    refuse += [DriverError(), OSError(28, "No space left on device")]

    view = run(shop.add, "word")

    assert view.result == 1
    assert view.attempt == 1
    assert shop.effects(run.app) == ["word"]


def test_that_the_storage_is_away_never_fails_a_job(run, refuse):
    refuse += [StorageAway() for _ in range(9)]

    view = run(shop.add, "word", zodb_async__max_conflicts=3)

    assert view.result == 1
    assert view.attempt == 1
    assert shop.effects(run.app) == ["word"]


def test_a_job_that_raises_an_error_of_a_driver_by_itself_fails(run):
    view = run(raise_driver_error)

    assert view.failure.type == "DriverError"


def raise_driver_error():
    raise DriverError


# -- Time limits --------------------------------------------------------------


def late(gate):
    """Leave an effect, and take too long."""
    shop.add_and_wait_at(gate)
    return "late"


@pytest.fixture
def start_late(make_app, gate):
    """Start a job that takes too long; give the application and the sid."""

    def start(**options):
        def view(request):
            schedule = request.schedule.with_options(**options)
            return request.accepted(schedule(late, "gate"))

        app = make_app({"/view": view})
        sid = app.get("/view").json["sid"]
        shop.gates["gate"].wait_for_job()
        return app, sid

    return start


def actions(caplog):
    return [record.action for record in caplog.records]


def test_a_job_that_was_cancelled_in_time_does_not_time_out(
    start_late, gate, caplog
):
    def is_cancelled_in_time():
        shop.gates["gate"] = gate = shop.Gate()
        caplog.clear()
        app, sid = start_late(time_limit=0.4)
        answer = app.delete(f"/jobs/{sid}", status="*")
        time.sleep(0.6)  # past the limit: nothing must happen then
        gate.open()
        drain(app)
        if answer.status_int != 202:
            return False
        assert wait_for(app, sid).state is JobState.CANCELLED
        return "job_timed_out" not in actions(caplog)

    shop.at_last(is_cancelled_in_time)


def test_the_time_that_subscribers_take_is_not_the_time_of_the_job(
    make_app, caplog
):
    told = threading.Event()

    def dawdle(event):
        time.sleep(0.6)  # past the limit: nothing must happen then
        told.set()

    def view(request):
        request.schedule.with_options(time_limit=0.4)(shop.nothing)
        return request.response

    app = make_app(
        {"/view": view},
        configure=lambda config: config.add_subscriber(dawdle, JobSucceeded),
    )

    def is_in_time():
        told.clear()
        caplog.clear()
        app.get("/view")
        if not told.wait(shop.PATIENCE):
            return False
        assert "job_timed_out" not in actions(caplog)
        return True

    shop.at_last(is_in_time)


def test_a_job_whose_time_out_cannot_be_recorded_fails_when_it_returns(
    start_late, gate, caplog, kept_in, monkeypatch
):
    def refuse(*args, **options):
        raise OSError("no storage")

    kind = {"memory": MemoryRun, "zodb": StoredRun}[kept_in]
    with monkeypatch.context() as patches:
        patches.setattr(kind, "fail", refuse)
        app, sid = start_late(time_limit=0.2)
        wait_until(lambda: "failure_not_recorded" in actions(caplog))
    gate.open()
    ended = wait_for(app, sid)
    drain(app)

    assert ended.failure.type == "JobTimeout"
    assert shop.effects(app) == []


def test_a_job_that_is_repeated_has_its_time_anew(make_app):
    """It conflicts twice, and takes half of its time in each run."""

    def view(request):
        schedule = request.schedule.with_options(time_limit=0.6)
        return request.accepted(schedule(conflict_slowly))

    app = make_app({"/view": view})

    def is_in_time():
        shop.attempts.clear()
        ended = wait_for(app, app.get("/view").json["sid"])
        drain(app)
        return ended.state is JobState.SUCCEEDED

    shop.at_last(is_in_time)
    assert shop.attempts == [1, 1, 1]


def conflict_slowly():
    time.sleep(0.3)  # the work
    return shop.conflict(2)


def test_a_conflict_after_its_time_is_no_reason_to_repeat_a_job(
    start_late, gate, caplog, kept_in, monkeypatch
):
    """It could not be recorded that its time was up."""

    def refuse(*args, **options):
        raise OSError("no storage")

    def conflict_late(gate):
        shop.wait_at(gate)
        raise ConflictError

    monkeypatch.setattr(
        f"{__name__}.late", functools.wraps(late)(conflict_late)
    )
    kind = {"memory": MemoryRun, "zodb": StoredRun}[kept_in]
    with monkeypatch.context() as patches:
        patches.setattr(kind, "fail", refuse)
        app, sid = start_late(time_limit=0.2)
        wait_until(lambda: "failure_not_recorded" in actions(caplog))
    gate.open()
    ended = wait_for(app, sid)

    assert ended.failure.type == "JobTimeout"
    assert ended.attempt == 1


def be_told_to_stop():
    """Leave an effect, and raise as a handler of Celery's does."""
    shop.add("half done")
    exec("raise SystemExit(1)", {"__name__": "billiard.common"})


def stop_at_once(make_app, caplog):
    """Have a job run in a process that is told to stop; give its parts."""
    caplog.set_level(logging.INFO)

    def view(request):
        return request.accepted(request.schedule(be_told_to_stop))

    app = make_app({"/view": view})
    sid = app.get("/view").json["sid"]
    wait_until(lambda: "job_given_back" in actions(caplog))
    registry = app.app.registry
    assert registry.getUtility(IEngine).idle(10)
    return app, registry.getUtility(IScheduler), sid


def test_a_job_whose_process_is_told_to_stop_does_not_fail(make_app, caplog):
    app, scheduler, sid = stop_at_once(make_app, caplog)

    assert scheduler.unfinished() == [sid]
    assert shop.effects(app) == []
    assert "job_failed" not in actions(caplog)
    assert "job_not_given_back" not in actions(caplog)


@pytest.mark.kept_in("zodb")
def test_a_job_that_its_process_cannot_leave_to_others_does_not_fail(
    make_app, caplog, monkeypatch
):
    def refuse(run):
        raise OSError("no storage")

    monkeypatch.setattr(StoredRun, "give_back", refuse)
    _, scheduler, sid = stop_at_once(make_app, caplog)

    assert scheduler.unfinished() == [sid]
    assert "job_not_given_back" in actions(caplog)


def test_a_retry_that_cannot_be_recorded_repeats_the_job(
    make_app, kept_in, monkeypatch
):
    failing = [OSError("no storage")]
    kind = {"memory": MemoryRun, "zodb": StoredRun}[kept_in]
    retry = kind.retry

    def refuse_once(self, due):
        if failing:
            raise failing.pop()
        return retry(self, due)

    def view(request):
        options = {"retry_on": JobError, "backoff": 0}
        schedule = request.schedule.with_options(**options)
        return request.accepted(schedule(shop.try_luck, "done"))

    monkeypatch.setattr(kind, "retry", refuse_once)
    monkeypatch.setattr(rules, "GREATEST_DELAY", 0.1)
    shop.luck[:] = [False, False, True]
    app = make_app({"/view": view})
    ended = wait_for(app, app.get("/view").json["sid"])

    assert ended.result == "done"
    assert ended.attempt == 2  # the first one was repeated


def try_with_patience():
    return shop.try_luck("done")


def test_who_waits_for_an_inline_job_does_not_wait_for_its_attempts(make_app):
    def view(request):
        options = {"retry_on": JobError, "backoff": (3600, 3600)}
        schedule = request.schedule.with_options(**options)
        return request.accepted(schedule(try_with_patience))

    shop.luck[:] = [False, False, True]
    app = make_app({"/view": view}, zodb_async__engine="inline")
    answer = app.get("/view").json

    assert wait_for(app, answer["sid"]).result == "done"


def test_a_job_that_ends_as_its_time_is_up_is_not_ended_twice(
    start_late, gate, kept_in, monkeypatch
):
    """Somebody was faster."""
    refused = threading.Event()

    def fail(*args, **options):
        refused.set()
        return False

    kind = {"memory": MemoryRun, "zodb": StoredRun}[kept_in]
    with monkeypatch.context() as patches:
        patches.setattr(kind, "fail", fail)
        app, sid = start_late(time_limit=0.2)
        assert refused.wait(shop.PATIENCE)
    gate.open()
    ended = wait_for(app, sid)

    assert ended.failure.type == "JobTimeout"


# -- What jobs raise ----------------------------------------------------------


class Unprintable(Exception):
    """An exception that cannot even be shown."""

    def __str__(self):
        raise SystemExit("no text")


class Unpicklable(Exception):
    """An exception that holds what cannot leave its thread."""

    def __init__(self):
        super().__init__(threading.Lock())


class Unloadable(Exception):
    """An exception that can be pickled, but not loaded."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def raise_unprintable():
    raise Unprintable


def raise_unpicklable():
    raise Unpicklable


def raise_unloadable():
    raise Unloadable(1, 2)


def leave():
    sys.exit(3)


def interrupt():
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("function", "kind", "message"),
    [
        (raise_unprintable, "Unprintable", "the text of this Unprintable"),
        (raise_unpicklable, "Unpicklable", "_thread.lock"),
        (raise_unloadable, "Unloadable", "1 and 2"),
        (leave, "SystemExit", "The job called sys.exit(3)"),
        (interrupt, "KeyboardInterrupt", ""),
    ],
)
def test_whatever_a_job_raises_fails_it(
    make_app, manager, engine, function, kind, message
):
    def view(request):
        return request.accepted(request.schedule(function))

    app = make_app({"/view": view}, **manager, **engine)
    sid = app.get("/view").json["sid"]
    view = wait_for(app, sid)

    assert view.failure.type == kind
    assert message in view.failure.message
    assert app.get(f"/jobs/{sid}").json["error"] == {
        "type": kind,
        "title": "The job failed",
    }


@pytest.mark.parametrize(
    "function", [raise_unprintable, raise_unpicklable, raise_unloadable]
)
def test_an_exception_that_cannot_travel_has_a_stand_in(scheduler, function):
    sid = scheduler.schedule(function)
    transaction.commit()
    assert scheduler.wait(sid, 60)
    value, error = scheduler.get_result(sid)

    assert value is None
    assert function.__name__.removeprefix("raise_") in str(error).lower()


def test_the_worker_survives_a_job_that_exits(make_app):
    def leave_view(request):
        return request.accepted(request.schedule(leave))

    def add_view(request):
        return request.accepted(request.schedule(shop.add, "after"))

    app = make_app(
        {"/leave": leave_view, "/add": add_view}, zodb_async__workers=1
    )
    app.get("/leave")
    app.get("/add")
    drain(app)

    assert shop.effects(app) == ["after"]
