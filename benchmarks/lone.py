"""An application of one thread, where each step of a job can be measured."""

# ruff: noqa: SLF001 - it ends requests as pyramid.scripting does

import collections
import contextlib
import logging

from batches import make_batched
from pyramid.config import Configurator
from pyramid.request import Request, apply_request_extensions
from pyramid_tm import create_tm
from zope.interface import classImplements

from pyramid_zodb_async import IScheduler, interfaces

#: After how many lives all caches are filled.
WARM_UP = 5

#: The steps that are also needed by name.
SCHEDULE, RUN, FETCH = "schedule + commit", "one run", "fetch + commit"


def one():
    """Be a job with a result."""
    return 1


def one_batched():
    """Be such a job, which may run in a batch."""
    return 1


#: Whether there are batches.
HAS_BATCHES = make_batched(one_batched)


def fail():
    """Be a job that fails."""
    raise ValueError


class Kept:
    """An engine that keeps jobs until the measurement runs them."""

    workers = 1

    def __init__(self, run):
        self.run = run
        self.batches = None
        self.sids = collections.deque()

    def use_batches(self, batches):
        """Take what runs several jobs in one transaction."""
        self.batches = batches

    def submit(self, sids, *, due=None, priority=0):
        """Take jobs."""
        self.sids.extend(sids)

    def next(self):
        """Return the sid of the job that is to run next."""
        return self.sids.popleft()

    def run_next(self):
        """Run it, on this thread."""
        self.run(self.next())

    def run_together(self, number):
        """Run the next ones in a batch, if this build can do that."""
        if self.batches is None:
            for _ in range(number):
                self.run_next()
        elif self.batches.run([self.next() for _ in range(number)]):
            raise AssertionError("some of a batch are to run again")

    def withdraw(self, sid):
        """Forget a job."""
        with contextlib.suppress(ValueError):
            self.sids.remove(sid)

    def start(self):
        """Do nothing."""

    def idle(self, timeout=None):
        """Tell that no job runs."""
        return True

    def stop(self, grace=None):
        """Tell that no job still runs."""
        return []


if HAS_BATCHES:
    # who does not say so gets none
    classImplements(Kept, interfaces.IBatchEngine)


class Lone:
    """The application, and what is done with it on the calling thread."""

    def __init__(self, policy=None, **settings):
        self.engine = None
        config = Configurator(
            settings={
                "zodbconn.uri": "memory://",
                "tm.manager_hook": "pyramid_tm.explicit_manager",
                "zodb_async.scheduler": "zodb",
                "zodb_async.engine": "kept",
                **settings,
            }
        )
        for name in ("tm", "zodbconn", "zodb_async"):
            config.include(f"pyramid_{name}")
        config.add_job_engine("kept", self._make_engine)
        if policy:
            config.set_security_policy(policy)
        self.router = config.make_wsgi_app()
        self.registry = self.router.registry
        self.scheduler = self.registry.getUtility(IScheduler)
        self.scheduler.start()

    def _make_engine(self, run, _settings):
        self.engine = Kept(run)
        return self.engine

    @contextlib.contextmanager
    def request(self):
        """Give a request whose transaction is committed, without a router."""
        request = Request.blank("/")
        request.registry = self.registry
        apply_request_extensions(request)
        manager = create_tm(request)
        request.environ.update({"tm.manager": manager, "tm.active": True})
        manager.begin()
        try:
            yield request
            manager.commit()
        finally:
            request._process_finished_callbacks()

    def put(self, function):
        """Schedule a job, and return its sid."""
        with self.request() as request:
            return request.schedule(function)

    def fetch(self, sid):
        """Fetch the outcome of a job."""
        with self.request() as request:
            return request.jobs.get_result(sid)

    def remove(self, sid):
        """Look at the outcome of a job, and remove it."""
        with self.request() as request:
            result = request.jobs.get(sid).result
            request.jobs.remove(sid)
            return result

    def ask(self, method, path, status):
        """Send a request about a job through the router."""
        request = Request.blank(f"/jobs/{path}", method=method)
        response = request.get_response(self.router)
        if response.status_int != status:
            raise AssertionError(f"{method}: {response.status}")
        return response

    @property
    def db(self):
        """The database."""
        return self.registry._zodb_databases[""]


def do(_name, function, *arguments):
    """Do a step, of which nothing is measured."""
    return function(*arguments)


def live(app, do):
    """Have jobs go through all steps of their lives.

    Args:
        app: the application.
        do: does a step. It is called with the step's name, a function and its
            arguments, and returns what the function returns.
    """
    sid = do(SCHEDULE, app.put, one)
    do(RUN, app.engine.run_next)
    do("poll of an ended job", app.ask, "GET", sid, 200)
    do(FETCH, app.fetch, sid)

    sid = app.put(one)
    do("poll of a pending job", app.ask, "GET", sid, 200)
    run = app.scheduler.claim(app.engine.next())
    do("poll of a running job", app.ask, "GET", sid, 200)
    do("DELETE of a running job", app.ask, "DELETE", sid, 202)
    run.close()
    do("DELETE of an ended job", app.ask, "DELETE", sid, 204)

    sid = app.put(fail)
    do("one run that fails", app.engine.run_next)
    do("retry of a failed job", app.ask, "POST", f"{sid}/retry", 202)
    do("DELETE of a pending job", app.ask, "DELETE", sid, 202)
    app.engine.run_next()  # which finds that it is not to run
    app.ask("DELETE", sid, 204)


@contextlib.contextmanager
def application(policy=None, **settings):
    """Give an application, and end it."""
    # what is told of failed jobs is of no interest here
    logging.getLogger().addHandler(logging.NullHandler())
    app = Lone(policy, **settings)
    try:
        yield app
    finally:
        app.scheduler.stop(0)
        app.db.close()
