"""A Pyramid application with jobs, and what is done with it to measure."""

# ruff: noqa: SLF001 - it puts jobs into the store as the package does

import contextlib
import logging
import pathlib
import secrets
import tempfile
import threading
import time

import transaction
from persistent import Persistent
from pyramid.config import Configurator
from pyramid.request import Request, apply_request_extensions
from pyramid_tm import create_tm
from storages import STORAGES, settle
from transaction.interfaces import TransientError

from pyramid_zodb_async import IScheduler
from pyramid_zodb_async.scheduler.records import Record

#: How many jobs are put into the store in one transaction.
AT_A_TIME = 2000


def nothing():
    """Be the job: what is measured is the way there and back."""


def one():
    """Be a job with a result."""
    return 1


def rest(_number):
    """Be a job that goes on until the process ends."""
    threading.Event().wait()


class Runs:
    """Counts runs, so that to wait for them costs the database nothing."""

    _lock = threading.Lock()
    _left = 0
    over = threading.Event()

    @classmethod
    def expect(cls, number):
        """Expect so many runs more."""
        with cls._lock:
            cls._left += number
            cls.over.clear()

    @classmethod
    def note(cls):
        """Note that a run has begun."""
        with cls._lock:
            cls._left -= 1
            if cls._left <= 0:
                cls.over.set()


def count(number):
    """Be a job with an argument, whose run is counted."""
    Runs.note()
    return number


class Stamps:
    """When jobs started."""

    started = threading.Event()
    moment = 0.0


def stamp():
    """Tell when the job starts."""
    Stamps.moment = time.perf_counter()
    Stamps.started.set()


class Repeats(logging.Handler):
    """Counts the runs that are repeated after conflicts."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def emit(self, record):
        """Count it, if it tells of one."""
        self.count += getattr(record, "action", "") == "job_repeated"


class Small(Persistent):
    """The small object of the bare commits."""

    count = 0


class Stack:
    """An application as ``includeme`` makes it, and its database.

    Jobs are scheduled and fetched by requests with a transaction of their
    own, which go through no router and no tweens.

    Args:
        uri: that of the database.
        workers: how many jobs run at a time.
        starts: whether to start the scheduler now.
        configure: is called with the configurator, to add views.
        settings: further ones.
    """

    def __init__(
        self,
        uri,
        workers,
        folder=None,
        *,
        starts=True,
        configure=None,
        **settings,
    ):
        self.uri, self.folder = uri, folder
        settings = {
            "zodbconn.uri": uri,
            "tm.manager_hook": "pyramid_tm.explicit_manager",
            "zodb_async.scheduler": "zodb",
            "zodb_async.workers": workers,
            **settings,
        }
        config = Configurator(settings=settings)
        for name in ("tm", "zodbconn", "zodb_async"):
            config.include(f"pyramid_{name}")
        if configure:
            configure(config)
        self.router = config.make_wsgi_app()
        self.registry = self.router.registry
        # builds that are compared have helpers for it in different places
        self.db = self.registry._zodb_databases[""]
        self.scheduler = self.registry.getUtility(IScheduler)
        if starts:
            self.scheduler.start()
        #: The conflicts that requests met.
        self.conflicts = 0

    def close(self):
        """End all of it."""
        self.scheduler.stop(5)
        self.db.close()

    def request(self):
        """Give a request whose transaction is committed."""
        return committed_request(self.registry)

    def repeat(self, work):
        """Do *work* with a request, again after each conflict."""
        while True:
            try:
                with self.request() as request:
                    return work(request)
            except TransientError:
                self.conflicts += 1

    def put(self, function=one):
        """Schedule a job."""
        return self.repeat(lambda request: request.schedule(function))

    def put_many(self, number, function=one):
        """Schedule as many jobs in one request."""
        return self.repeat(
            lambda request: schedule_calls(request, function, number * [()])
        )

    def get(self, sid, fetch="get_result"):
        """Wait for the outcome, and fetch it as one of :data:`FETCHES`."""
        return self._ask(lambda request: FETCHES[fetch](request, sid))

    def get_many(self, sids, fetch):
        """Wait for the outcomes, and fetch all of them in one request."""
        fetch_one = FETCHES[fetch]
        self._ask(
            # most likely the last one tells
            lambda request: all(map(request.jobs.completed, reversed(sids)))
        )
        return self.repeat(
            lambda request: [fetch_one(request, sid) for sid in sids]
        )

    def _ask(self, question):
        while not (answer := self.repeat(question)):
            time.sleep(0.0005)
        return answer

    def keep(self, kept):
        """Put as many finished jobs into the store."""
        for start in range(0, kept, AT_A_TIME):
            number = min(AT_A_TIME, kept - start)
            self.scheduler.process.location.write(
                lambda store, number=number: _keep(store, number), note="kept"
            )


@contextlib.contextmanager
def committed_request(registry):
    """Give a request of an application, whose transaction is committed."""
    request = Request.blank("/")
    request.registry = registry
    apply_request_extensions(request)
    manager = create_tm(request)
    request.environ.update({"tm.manager": manager, "tm.active": True})
    manager.begin()
    try:
        yield request
        manager.commit()
    except BaseException:
        manager.abort()
        raise
    finally:
        request._process_finished_callbacks()


def schedule_calls(request, function, calls):
    """Schedule jobs with one call, where the build has that."""
    many = getattr(request.schedule, "many", None)
    if many is None:
        return [request.schedule(function, *args) for args in calls]
    return many(function, calls)


def _get_result(request, sid):
    return request.jobs.get_result(sid)


def _view_and_remove(request, sid):
    view = request.jobs.get(sid)
    if not view.done:
        return False
    request.jobs.remove(sid)
    return view.result, None


def _look(request, sid):
    return request.jobs.completed(sid)


#: How a request asks for the outcome of a job. Each gives something false
#: until it has ended. The first two forget the job, and give its result.
FETCHES = {
    "get_result": _get_result,
    "delete": _view_and_remove,
    "no": _look,
}


def _keep(store, number):
    _, slice_ = store.newest()
    now = time.time()
    for _ in range(number):
        record = Record(
            "stack:nothing",
            now,
            None,
            state="succeeded",
            attempt=1,
            runner="0123456789ab",
            started=now,
            finished=now,
            expires=now + 3600,
        )
        del record.call  # as if it had been there
        key = secrets.token_bytes(16)
        slice_.tree(key)[key] = record


@contextlib.contextmanager
def new_stack(storage, *, kept=0, workers=2, configure=None):
    """Give a stack with a new database in a temporary folder."""
    with contextlib.ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory())
        folder = pathlib.Path(name)
        uri = stack.enter_context(STORAGES[storage](folder))
        made = Stack(uri, workers, folder, configure=configure)
        stack.callback(made.close)
        if kept:
            made.keep(kept)
            settle(uri)
        yield made


def in_threads(number, work):
    """Do *work* in that many threads at once; give all that they give."""
    given = []

    def do():
        try:
            given.append(work())
        except BaseException as error:  # noqa: BLE001 - raised below
            given.append(error)

    threads = [threading.Thread(target=do) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for outcome in given:
        if isinstance(outcome, BaseException):
            raise outcome
    return given


def job_rate(stack, seconds, *, fetch="get_result", **windows):
    """Give jobs, and jobs per second, of threads that schedule and fetch.

    Args:
        stack: the application.
        seconds: for how long they schedule.
        fetch: how they ask for the outcome, of :data:`FETCHES`.
        windows: how many threads there are, and what they leave open, as
            :func:`loop_rate` takes it.
    """
    return loop_rate(
        lambda: stack.put(nothing),
        lambda sid: stack.get(sid, fetch),
        seconds,
        **windows,
    )


def loop_rate(put, ask, seconds, *, threads=2, window=20):
    """Give jobs, and jobs per second, of threads that schedule and ask.

    Each has at most *window* jobs that it has not asked for yet.
    """
    start = time.perf_counter()
    end = start + seconds

    def work():
        handles, done = [], 0
        while time.perf_counter() < end or handles:
            if time.perf_counter() < end:
                handles.append(put())
            if len(handles) > window or time.perf_counter() >= end:
                ask(handles.pop(0))
                done += 1
        return done

    jobs = sum(in_threads(threads, work))
    return jobs, jobs / (time.perf_counter() - start)


def commit_rate(db, seconds, threads=4):
    """Give commits per second of threads that write a small object each."""
    end = time.perf_counter() + seconds

    def work():
        manager = transaction.TransactionManager(explicit=True)
        connection = db.open(transaction_manager=manager)
        try:
            with manager:
                small = Small()
                connection.add(small)
            number = 0
            while time.perf_counter() < end:
                manager.begin()
                small.count += 1
                manager.commit()
                number += 1
            return number
        finally:
            connection.close()

    start = time.perf_counter()
    return sum(in_threads(threads, work)) / (time.perf_counter() - start)


def start_delays(stack, jobs):
    """Give the seconds from commits to the starts of their jobs, idle."""
    delays = []
    for _ in range(jobs):
        committed = []
        Stamps.started.clear()
        with stack.request() as request:
            request.tm.get().addAfterCommitHook(
                lambda _ok, committed=committed: committed.append(
                    time.perf_counter()
                )
            )
            sid = request.schedule(stamp)
        Stamps.started.wait()
        delays.append(Stamps.moment - committed[0])
        stack.get(sid)
        time.sleep(0.002)
    return delays
