"""The application that over_http.py asks; waitress calls :func:`make_app`."""

import html
import logging
import os
import random
import threading
import time

from BTrees.OOBTree import OOBTree
from persistent.mapping import PersistentMapping
from pyramid.config import Configurator
from pyramid.response import Response
from pyramid_zodbconn import get_connection

from pyramid_zodb_async import current_job
from pyramid_zodb_async.database.application import databases_of

#: What the pages are about.
THINGS = 1000

#: How many of them are on a page.
ROWS = 20

#: Lets the jobs end that stay as they are until then.
ENOUGH = threading.Event()


def one():
    """Be a job with a small result."""
    return {"total": 137}


def stay():
    """Be a job that runs until it is told to end."""
    ENOUGH.wait()


def tell():
    """Be such a job, and tell twice a second how far it has come."""
    steps = 0
    while not ENOUGH.wait(0.5):
        steps += 1
        current_job().progress(steps, message="on the way")


def nap():
    """Be a job that gives the moment of its end, by the system's clock."""
    time.sleep(random.uniform(0.03, 0.08))
    return time.monotonic()


def doze():
    """Do the same after a longer time."""
    time.sleep(random.uniform(0.3, 0.6))
    return time.monotonic()


JOBS = {job.__name__: job for job in (one, stay, tell, nap, doze)}


class Identity:
    """A security policy for which all are the same user."""

    def authenticated_userid(self, request):
        """Tell who asks: a job belongs to somebody."""
        return "ada"


def _things(request):
    return get_connection(request).root()["things"]


def bare(request):
    """Answer with one thing as JSON: polls are compared with that."""
    return {"name": _things(request)["000500"]["name"]}


def page(request):
    """Answer with an ordinary page."""
    start = random.randrange(THINGS - ROWS)
    rows = "".join(
        f"<tr><td>{html.escape(key)}<td>{html.escape(thing['name'])}"
        for key, thing in _things(request).items(
            f"{start:06}", f"{start + ROWS:06}"
        )
    )
    return Response(f"<!doctype html><title>Things</title><table>{rows}")


def write(request):
    """Commit a small change."""
    thing = _things(request)["000500"]
    thing["count"] = thing.get("count", 0) + 1
    return {}


def used(request):  # noqa: ARG001 - a view
    """Tell how many seconds of processors this process has used."""
    return time.process_time()


def schedule(request):
    """Schedule a job of the kind that is asked for."""
    sid = request.schedule(JOBS[request.matchdict["kind"]])
    return request.accepted(sid)


def make_app():
    """Give the application.

    ``BENCH_FOLDER`` is where the database is to be, ``BENCH_WORKERS`` how many
    workers there are.
    """
    # it would tell of each request that has to wait for a thread
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    file = os.environ["BENCH_FOLDER"] + "/Data.fs"
    settings = {
        "zodbconn.uri": f"file://{file}?connection_pool_size=20",
        "tm.manager_hook": "pyramid_tm.explicit_manager",
        "zodb_async.scheduler": "zodb",
        "zodb_async.workers": os.environ["BENCH_WORKERS"],
    }
    config = Configurator(settings=settings, security_policy=Identity())
    for name in ("tm", "zodbconn", "zodb_async"):
        config.include(f"pyramid_{name}")
    for view, pattern, options in (
        (bare, "/bare", {"renderer": "json"}),
        (page, "/page", {}),
        (write, "/write", {"renderer": "json", "request_method": "POST"}),
        (used, "/used", {"renderer": "json"}),
        (schedule, "/schedule/{kind}", {"request_method": "POST"}),
    ):
        config.add_route(view.__name__, pattern)
        config.add_view(view, route_name=view.__name__, **options)
    app = config.make_wsgi_app()
    fill(databases_of(app.registry)[""])
    return app


def fill(db):
    """Put the things into the database."""
    with db.transaction() as connection:
        connection.root()["things"] = OOBTree(
            {
                f"{number:06}": PersistentMapping(name=f"Thing {number} & Co.")
                for number in range(THINGS)
            }
        )
