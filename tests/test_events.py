"""Subscribers are told of jobs, after the commits that made it true."""

import threading
import time

import pytest
import shop
from shop import wait_until

from pyramid_zodb_async import (
    IScheduler,
    JobError,
    JobState,
    current_job,
    job,
    transactional,
)
from pyramid_zodb_async.database.application import databases_of
from pyramid_zodb_async.events import (
    JobEvent,
    JobExpired,
    JobFailed,
    JobRetried,
    JobScheduled,
    JobStarted,
    JobSucceeded,
    JobWasCancelled,
)
from pyramid_zodb_async.jobs.current_job import running_job
from pyramid_zodb_async.scheduler.in_memory import table
from pyramid_zodb_async.scheduler.maintenance.expiry import SPAN
from pyramid_zodb_async.testing import drain, wait_for

pytestmark = pytest.mark.kept_in("memory", "zodb")


class Told:
    """What subscribers were told."""

    def __init__(self):
        self.events = []

    def __call__(self, event):
        self.events.append((event, threading.current_thread()))

    def kinds(self):
        return [type(event) for event, _ in self.events]

    def of(self, kind):
        return [event.job for event, _ in self.events if type(event) is kind]

    def wait_for(self, *kinds):
        wait_until(lambda: len(self.events) >= len(kinds))
        assert self.kinds() == list(kinds)


@pytest.fixture
def told():
    shop.luck.clear()
    return Told()


@pytest.fixture
def start_app(make_app, told):
    def make(views=(), kind=JobEvent, **settings):
        return make_app(
            {"/start": shop.start, **dict(views)},
            configure=lambda config: config.add_subscriber(told, kind),
            **settings,
        )

    return make


@pytest.fixture
def app(start_app):
    return start_app()


@job(attempts=2, retry_on=JobError, backoff=0)
def try_twice():
    return shop.try_luck("done")


@job(time_limit=0.2)
def take_too_long(gate):
    shop.wait_at(gate)


shop.try_twice = try_twice
shop.take_too_long = take_too_long


def test_a_job_that_succeeds_is_told_of_three_times(app, told):
    sid = shop.begin(app, "add", "word").rpartition("/")[2]
    told.wait_for(JobScheduled, JobStarted, JobSucceeded)
    scheduled, started, succeeded = (event.job for event, _ in told.events)

    assert {scheduled.sid, started.sid, succeeded.sid} == {sid}
    assert scheduled.state is JobState.PENDING
    assert started.state is JobState.RUNNING
    assert started.attempt == 1
    assert succeeded.state is JobState.SUCCEEDED
    assert succeeded.attempt == 1
    assert succeeded.finished < succeeded.expires
    assert succeeded.function == "shop:add"


def test_an_event_has_no_result_and_says_where_there_is_one(app, told):
    shop.begin(app, "add", "word")
    told.wait_for(JobScheduled, JobStarted, JobSucceeded)

    with pytest.raises(JobError, match=r"request\.jobs"):
        _ = told.of(JobSucceeded)[0].result


def test_what_was_not_committed_is_told_to_nobody(start_app, told):
    def start_and_fail(request):
        shop.start(request)
        raise ZeroDivisionError

    def roll_back(request):
        savepoint = request.tm.savepoint()
        shop.start(request)
        savepoint.rollback()
        return request.response

    app = start_app({"/fail": start_and_fail, "/roll-back": roll_back})
    with pytest.raises(ZeroDivisionError):
        app.get("/fail", {"function": "nothing"})
    app.get("/roll-back", {"function": "nothing"})
    drain(app)

    assert told.events == []


def test_scheduling_is_told_on_the_thread_of_the_commit_before_the_job_begins(
    app, told
):
    shop.begin(app, "nothing")
    told.wait_for(JobScheduled, JobStarted, JobSucceeded)
    threads = [thread for _, thread in told.events]

    assert threads[0] is threading.current_thread()
    assert threads[1] is threads[2] is not threads[0]


def test_the_effects_are_committed_when_success_is_told(make_app):
    seen = []

    def look(event):
        seen.extend(shop.effects(app))

    app = make_app(
        {"/start": shop.start},
        configure=lambda config: config.add_subscriber(look, JobSucceeded),
    )
    shop.begin(app, "add", "word")
    drain(app)
    wait_until(lambda: seen)

    assert seen == ["word"]


def test_a_job_that_fails_is_told_with_the_reason(app, told):
    shop.begin(app, "fail", "broken")
    told.wait_for(JobScheduled, JobStarted, JobFailed)
    (failed,) = told.of(JobFailed)

    assert failed.state is JobState.FAILED
    assert failed.failure.type == "ValueError"
    assert failed.failure.message == "broken"
    assert failed.started <= failed.finished < failed.expires


def test_each_attempt_is_told_of(app, told):
    shop.luck[:] = [False, True]
    shop.begin(app, "try_twice")
    told.wait_for(
        JobScheduled, JobStarted, JobRetried, JobStarted, JobSucceeded
    )
    (retried,) = told.of(JobRetried)

    assert retried.state is JobState.PENDING
    assert retried.due is not None
    assert retried.attempt == 1
    assert told.of(JobSucceeded)[0].attempt == 2


def test_a_retry_that_somebody_asks_for_is_told_of(app, told):
    path = shop.begin(app, "fail")
    told.wait_for(JobScheduled, JobStarted, JobFailed)
    told.events.clear()
    app.post(f"{path}/retry")
    told.wait_for(JobRetried, JobStarted, JobFailed)

    assert told.of(JobRetried)[0].state is JobState.PENDING


def test_a_cancelled_job_is_told_of_once(app, told, gate):
    path = shop.begin(app, "report_at", "gate", "one")
    gate.wait_for_job()
    app.delete(path)
    gate.open()
    drain(app)
    (cancelled,) = told.of(JobWasCancelled)

    assert cancelled.state is JobState.CANCELLED
    assert told.kinds()[-1] is JobWasCancelled
    assert JobSucceeded not in told.kinds()
    assert JobFailed not in told.kinds()


def test_a_job_that_takes_too_long_is_told_as_failed_once(app, told, gate):
    shop.begin(app, "take_too_long", "gate")
    told.wait_for(JobScheduled, JobStarted, JobFailed)
    gate.open()
    drain(app)

    assert told.kinds() == [JobScheduled, JobStarted, JobFailed]
    assert told.of(JobFailed)[0].failure.type == "JobTimeout"


class FastClock:
    """The clocks, which go ahead as a test wants it."""

    def __init__(self):
        self.ahead = 0
        self._time, self._monotonic = time.time, time.monotonic

    def time(self):
        return self._time() + self.ahead

    def monotonic(self):
        return self._monotonic() + self.ahead


def test_an_outcome_that_is_kept_no_longer_is_told_of(
    start_app, told, monkeypatch
):
    app = start_app(
        kind=JobExpired, zodb_async__result_timeout=60, zodb_async__lease=0.2
    )
    kept, gone = (
        shop.begin(app, "give", word).rpartition("/")[2] for word in "ab"
    )
    drain(app)
    scheduler = app.app.registry.getUtility(IScheduler)
    shop.in_thread(lambda: scheduler.get_result(kept))
    clock = FastClock()
    monkeypatch.setattr(time, "time", clock.time)
    monkeypatch.setattr(table, "time", clock)

    def look():
        clock.ahead += SPAN
        shop.in_thread(lambda: scheduler.get(gone))
        return told.events

    wait_until(look)
    assert [view.sid for view in told.of(JobExpired)] == [gone]
    assert told.of(JobExpired)[0].state is JobState.SUCCEEDED


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
def test_a_subscriber_that_fails_harms_no_job(make_app, caplog, error):
    def fail(event):
        raise error("the subscriber")

    app = make_app(
        {"/start": shop.start},
        configure=lambda config: config.add_subscriber(fail, JobEvent),
    )
    path = shop.begin(app, "add", "word")
    ended = wait_for(app, path.rpartition("/")[2])
    drain(app)
    wait_until(lambda: len(caplog.records) >= 3)

    assert ended.state is JobState.SUCCEEDED
    assert shop.effects(app) == ["word"]
    assert {record.action for record in caplog.records} == {
        "subscriber_failed"
    }
    assert ended.sid in caplog.records[0].getMessage()


def test_who_subscribes_to_one_kind_is_told_of_no_other(start_app, told):
    app = start_app(kind=JobFailed)
    shop.begin(app, "nothing")
    shop.begin(app, "fail")
    drain(app)
    wait_until(lambda: told.events)

    assert told.kinds() == [JobFailed]


@pytest.mark.parametrize(
    ("kind", "function", "state"),
    [(JobSucceeded, "give", "succeeded"), (JobFailed, "fail", "failed")],
)
def test_who_has_waited_for_a_job_sees_its_end_while_it_is_told_of(
    make_app, gate, kind, function, state
):
    app = make_app(
        {"/start": shop.start},
        configure=lambda config: config.add_subscriber(
            lambda event: gate.pass_through(), kind
        ),
    )
    path = shop.begin(app, function, *(["word"] * (function == "give")))
    ended = wait_for(app, path.rpartition("/")[2])
    gate.wait_for_job()

    assert ended.state == state
    assert app.get(path).json["state"] == state


def cancel_oneself():
    shop.add("half done")
    sid = current_job().sid
    return shop.get_current_request().jobs.cancel(sid)


@transactional
def write_into(connection, sid):
    connection.root()["told of"] = sid


def test_a_job_that_cancels_itself_is_told_of_when_its_run_is_over(make_app):
    """Else what a subscriber writes would be a part of that, and be lost."""
    told = []

    def write(event):
        db = databases_of(app.app.registry)[""]
        connection = db.open()
        write_into(connection, event.job.sid)
        connection.close()
        told.append(running_job())

    app = make_app(
        {
            "/start": lambda request: request.accepted(
                request.schedule(cancel_oneself)
            )
        },
        configure=lambda config: config.add_subscriber(write, JobWasCancelled),
    )
    sid = app.post("/start").json["sid"]
    wait_until(lambda: told)
    with databases_of(app.app.registry)[""].transaction() as connection:
        assert connection.root()["told of"] == sid
    drain(app)

    assert told == [None]
    assert shop.effects(app) == []
