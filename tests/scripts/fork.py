"""Fork after the configuration; the child schedules a job and tells of it."""

import os
import sys
import threading

import shop
from pyramid.config import Configurator
from webtest import TestApp

from pyramid_zodb_async import DatabaseForked, IScheduler
from pyramid_zodb_async.testing import drain, wait_for


def make_app(keeper, folder):
    """Make an application whose view schedules."""
    settings = {"zodb_async.scheduler": keeper}
    with Configurator(settings=settings) as config:
        config.include("pyramid_tm")
        if keeper == "zodb":
            uri = f"file://{folder}/Data.fs"
            config.registry.settings["zodbconn.uri"] = uri
            config.include("pyramid_zodbconn")
        config.include("pyramid_zodb_async")
        config.add_route("view", "/view")
        config.add_view(
            lambda request: request.accepted(
                request.schedule(shop.give, os.getpid())
            ),
            route_name="view",
        )
        return TestApp(config.make_wsgi_app())


def work(app, keeper):
    """Schedule a job in this process, and see it run or be refused."""
    try:
        sid = app.get("/view").json["sid"]
    except DatabaseForked as error:
        assert keeper == "zodb"
        assert "Configure the application after the fork" in str(error)
        print("refused")
        return
    assert wait_for(app, sid).result == os.getpid()
    drain(app)
    print("ran")


def main(keeper, used, folder):
    """Fork, with a lock of the scheduler's held by another thread."""
    app = make_app(keeper, folder)
    scheduler = app.app.registry.getUtility(IScheduler)
    if used == "used":
        work(app, keeper)
    sys.stdout.flush()
    entered, leave = threading.Event(), threading.Event()

    def hold():
        parts = scheduler.process if keeper == "zodb" else scheduler.jobs
        with parts.changes._lock:
            entered.set()
            leave.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    entered.wait(60)
    child = os.fork()
    if child == 0:
        work(app, keeper)
        sys.stdout.flush()
        os._exit(0)
    leave.set()
    holder.join()
    _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))


main(*sys.argv[1:])
