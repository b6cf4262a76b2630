"""Logging that raises, by a fault of the application, harms no job."""

import asyncio
import contextlib
import io
import logging
import signal
import threading

import pytest
import shop
from exhausted import no_new_threads
from ZODB.POSException import ConflictError

from pyramid_zodb_async import JobError, TransactionManager
from pyramid_zodb_async.config import sigterm
from pyramid_zodb_async.config.sigterm import stop_on_sigterm
from pyramid_zodb_async.engine.remote import publisher
from pyramid_zodb_async.engine.remote.messages import Message
from pyramid_zodb_async.engine.remote.publisher import Publisher
from pyramid_zodb_async.events import JobStarted
from pyramid_zodb_async.execution.time_limit import Watchdog
from pyramid_zodb_async.scheduler.maintenance.thread import Chore, Housekeeper
from pyramid_zodb_async.testing import wait_for

pytestmark = pytest.mark.kept_in("memory", "zodb")


class RaisingFilter(logging.Filter):
    """Asks each record for something that only some records have."""

    def filter(self, record):
        record.user = record.request.user
        return True


class RaisingHandler(logging.Handler):
    """Does not catch what its work raises."""

    def emit(self, record):
        raise LookupError("this handler has no receiver")


@contextlib.contextmanager
def first(handler):
    """Have a handler for the records of this package, before all others."""
    ours = logging.getLogger("pyramid_zodb_async")
    ours.addHandler(handler)
    try:
        yield
    finally:
        ours.removeHandler(handler)


@contextlib.contextmanager
def filtered():
    handler = logging.StreamHandler(io.StringIO())
    handler.addFilter(RaisingFilter())
    with first(handler):
        yield


@contextlib.contextmanager
def handled():
    with first(RaisingHandler()):
        yield


def raising(kind):
    """Have a filter raise what would end its thread."""

    class Raising(logging.Filter):
        def filter(self, record):
            raise kind("a filter that ends its thread")

    @contextlib.contextmanager
    def raise_in_filter():
        handler = logging.StreamHandler(io.StringIO())
        handler.addFilter(Raising())
        with first(handler):
            yield

    return raise_in_filter


exiting, giving_up = raising(SystemExit), raising(asyncio.CancelledError)


@contextlib.contextmanager
def made():
    """Make records that have an attribute of ours already."""
    make = logging.getLogRecordFactory()

    def with_sid(*args, **named_args):
        record = make(*args, **named_args)
        record.sid = "the session's"
        return record

    logging.setLogRecordFactory(with_sid)
    try:
        yield
    finally:
        logging.setLogRecordFactory(make)


@pytest.fixture(params=[filtered, handled, made, exiting, giving_up])
def _failing_log(request, make_app):
    """Have each line of the log raise, in one way or another.

    No longer than until applications are shut down, by the main thread.
    """
    ours = logging.getLogger("pyramid_zodb_async")
    level = ours.level
    ours.setLevel(logging.DEBUG)
    with request.param():
        yield
    ours.setLevel(level)


#: Here a thread must not die; there the main thread must not see an error,
#: which a filter that exits would cause.
on_threads = pytest.mark.usefixtures("_failing_log")


def on_the_main_thread(function):
    ways = pytest.mark.parametrize(
        "_failing_log", [filtered, handled, made], indirect=True
    )
    return on_threads(ways(function))


#: What the next request schedules: a function, arguments and options.
wanted = []


def schedule_wanted(request):
    function, arguments, options = wanted.pop()
    schedule = request.schedule.with_options(**options)
    return request.accepted(schedule(function, *arguments))


@pytest.fixture
def app(make_app):
    """Give an application with one worker and one server thread."""
    shop.attempts.clear()
    shop.luck.clear()
    return make_app(
        {"start": shop.start, "wanted": schedule_wanted},
        zodb_async__workers="1",
        zodb_async__lease="1",
    )


def end_of(app, function, *arguments, **options):
    """Run a job, and tell how it ended."""
    wanted.append((function, arguments, options))
    return wait_for(app, app.post("/wanted").json["sid"]).state


@on_threads
def test_jobs_end_as_they_would_with_a_log_that_works(app):
    assert end_of(app, shop.fail) == "failed"
    assert end_of(app, shop.explain) == "failed"
    assert end_of(app, shop.conflict, 2) == "succeeded"
    shop.luck.extend([False, True])
    assert (
        end_of(app, shop.try_luck, 1, retry_on=JobError, backoff=0)
        == "succeeded"
    )
    assert shop.effects(app) == ["conflicting", "half done"]


@on_threads
def test_a_job_that_takes_too_long_fails_at_once(app, gate):
    assert end_of(app, shop.wait_at, "gate", time_limit=0.1) == "failed"
    gate.open()
    assert end_of(app, shop.nothing) == "succeeded"


@on_the_main_thread
def test_waiting_and_running_jobs_are_cancelled(app, gate):
    running = shop.begin(app, "wait_at", "gate")
    gate.wait_for_job()
    waiting = shop.begin(app, "nothing")
    for path in (waiting, running):
        assert app.delete(path).json["state"] == "cancelled"
    gate.open()

    assert end_of(app, shop.nothing) == "succeeded"


@on_the_main_thread
def test_a_poll_is_answered_whose_result_cannot_be_shown(app):
    path = shop.begin(app, "give_set")
    wait_for(app, shop.sid_of(path))
    document = app.get(path).json

    assert document["state"] == "succeeded"
    assert document["error"]["type"] == "ResultNotRenderable"


@on_threads
def test_a_subscriber_that_fails_changes_nothing(make_app):
    def refuse(event):
        raise LookupError(event)

    app = make_app(
        {"start": shop.start},
        configure=lambda config: config.add_subscriber(refuse, JobStarted),
    )
    path = shop.begin(app, "nothing")

    assert wait_for(app, shop.sid_of(path)).state == "succeeded"


@on_threads
def test_the_housekeeper_outlives_a_chore_that_fails():
    rounds = threading.Semaphore(0)

    def fail():
        rounds.release()
        raise OSError("the storage is away for a moment")

    housekeeper = Housekeeper()
    housekeeper.start([Chore(fail, 0.01)])
    for _ in range(3):
        assert rounds.acquire(timeout=shop.PATIENCE)
    housekeeper.stop()


@on_threads
def test_the_watchdog_outlives_what_fails():
    dog, barked = Watchdog(), threading.Event()
    with dog.limit(0.05, lambda: 1 / 0), dog.limit(0.1, barked.set):
        assert barked.wait(shop.PATIENCE)


@on_threads
def test_the_publisher_outlives_an_outage(monkeypatch):
    monkeypatch.setattr(publisher, "PAUSES", (0.0, 0.01, 0.01))
    refusals = [OSError] * 4

    def send(message):
        if refusals:
            raise refusals.pop()

    sender = Publisher(send, lambda: None, lambda queue: 0)
    sender.put(Message("sid"))

    assert sender.wait(shop.PATIENCE)
    sender.stop(shop.PATIENCE)


@on_the_main_thread
def test_a_process_without_room_for_a_thread_takes_the_job_all_the_same(app):
    with no_new_threads():
        path = shop.begin(app, "nothing")
    app.get(path)
    end_of(app, shop.nothing)

    assert wait_for(app, shop.sid_of(path)).state == "succeeded"


@on_the_main_thread
def test_the_signal_ends_the_process(monkeypatch):
    # this process goes on, and would be ended
    monkeypatch.setattr(sigterm, "_see_to_the_end", lambda *_: None)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        stop_on_sigterm()
        with pytest.raises(SystemExit) as caught:
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)

    assert caught.value.code == 0


@on_the_main_thread
def test_a_transactional_function_is_repeated(db):
    calls = []

    @TransactionManager(retry_initial_delay=0)
    def work():
        calls.append(1)
        if len(calls) < 3:
            raise ConflictError
        return "done"

    assert work() == "done"
