"""An application of one thread, where each step of a job can be measured."""

# ruff: noqa: SLF001 - it ends requests as pyramid.scripting does

import collections
import contextlib

from pyramid.config import Configurator
from pyramid.request import Request, apply_request_extensions
from pyramid_tm import create_tm

from pyramid_zodb_async import IScheduler

#: After how many jobs all caches are filled.
WARM_UP = 5


def one():
    """Be a job with a result."""
    return 1


class Kept:
    """An engine that keeps jobs until the measurement runs them."""

    workers = 1

    def __init__(self, run):
        self.run = run
        self.sids = collections.deque()

    def submit(self, sids, *, due=None, priority=0):
        """Take jobs."""
        self.sids.extend(sids)

    def next(self):
        """Return the sid of the job that is to run next."""
        return self.sids.popleft()

    def run_next(self):
        """Run it, on this thread."""
        self.run(self.next())

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


class Lone:
    """The application, and what is done with it on the calling thread."""

    def __init__(self, **settings):
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
        self._router = config.make_wsgi_app()
        self.registry = self._router.registry
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

    def ask(self, method, sid, status):
        """Send a request about a job through the router."""
        request = Request.blank(f"/jobs/{sid}", method=method)
        response = request.get_response(self._router)
        if response.status_int != status:
            raise AssertionError(f"{method}: {response.status}")
        return response

    @property
    def db(self):
        """The database."""
        return self.registry._zodb_databases[""]


@contextlib.contextmanager
def application(**settings):
    """Give an application, and end it."""
    app = Lone(**settings)
    try:
        yield app
    finally:
        app.scheduler.stop(0)
        app.db.close()
