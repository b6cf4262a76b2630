"""Fork after the configuration; the child schedules a job and tells of it."""

import ctypes
import logging
import os
import sys
import threading

import shop
import transaction
from pyramid.config import Configurator
from pyramid.response import Response
from webtest import TestApp
from ZODB.DB import DB
from zodburi import resolve_uri

from pyramid_zodb_async import IScheduler
from pyramid_zodb_async.testing import drain, wait_for


def make_app(keeper, uri):
    """Make an application whose view schedules."""
    settings = {"zodb_async.scheduler": keeper}
    with Configurator(settings=settings) as config:
        config.include("pyramid_tm")
        if uri:
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
        config.add_route("plain", "/plain")
        config.add_view(lambda request: Response("ok"), route_name="plain")
        return TestApp(config.make_wsgi_app())


def work(app):
    """Schedule a job in this process, and see it run or be refused."""
    answer = app.get("/view", status="*")
    if answer.status_int == 503:
        assert answer.content_type == "application/problem+json"
        assert app.get("/jobs/unknown", status=503).json == answer.json
        # elsewhere all but jobs goes on
        plain = app.get("/plain", status="*")
        print("refused" if plain.status_int == 200 else "503")
        return
    assert wait_for(app, answer.json["sid"]).result == os.getpid()
    drain(app)
    print("ran")


def reopen(app, uri):
    """Open the database in this process, in place of that of the parent."""
    factory, options = resolve_uri(uri)
    databases = app.app.registry._zodb_databases
    databases[""] = DB(factory(), **{**options, "database_name": ""})


def main(keeper, used, uri, how=""):
    """Fork, with a lock of the scheduler's held by another thread."""
    logging.basicConfig(format="%(levelname)s %(message)s")
    app = make_app(keeper, uri)
    scheduler = app.app.registry.getUtility(IScheduler)
    if used == "used":
        work(app)
        # closes what wait_for() has opened: the child would do that, and wait
        # for ever if a thread of the parent was within SQLite at the fork
        transaction.abort()
    incarnation = scheduler.process.incarnation if keeper == "zodb" else None
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
    # as servers in C do, who may not tell Python of it
    child = ctypes.PyDLL(None).fork() if how == "in C" else os.fork()
    if child == 0:
        if used == "reopened":
            reopen(app, uri)
        if used == "identity":
            is_same = scheduler.process.incarnation == incarnation
            print("the same" if is_same else "another")
        else:
            work(app)
        sys.stdout.flush()
        os._exit(0)
    leave.set()
    holder.join()
    _, status = os.waitpid(child, 0)
    if used == "used":
        work(app)  # the parent goes on
    sys.exit(os.waitstatus_to_exitcode(status))


main(*sys.argv[1:])
