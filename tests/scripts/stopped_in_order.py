"""Run a job, have others wait, and be told to stop: URI, number that waits.

This is a Pyramid application, as a server has it in its process, but nothing
listens. A line says that all is as it should be.
"""

import logging
import signal
import sys

import shop
import transaction
from pyramid.config import Configurator

from pyramid_zodb_async import IScheduler
from pyramid_zodb_async.database.application import databases_of
from pyramid_zodb_async.database.connections import JarConnections


def schedule(app, function, *arguments):
    """Schedule a job, as a request does."""
    scheduler = app.registry.getUtility(IScheduler)
    manager = transaction.TransactionManager(explicit=True)
    connection = databases_of(app.registry)[""].open(manager)
    with manager:
        scheduler.schedule_call(
            function, arguments, {}, JarConnections(connection)
        )
    connection.close()


def main(uri, waiting):
    logging.basicConfig(
        level=logging.INFO, format="%(levelname)s %(name)s %(message)s"
    )
    settings = {
        "zodbconn.uri": uri,
        "zodb_async.autostart": "true",
        "zodb_async.stop_on_sigterm": "true",
        "zodb_async.workers": "1",
        "zodb_async.lease": "600",
        "zodb_async.grace": "0",
    }
    with Configurator(settings=settings) as config:
        for include in shop.WITHOUT_RETRY:
            config.include(include)
        app = config.make_wsgi_app()
    schedule(app, shop.hold)
    scheduler = app.registry.getUtility(IScheduler)
    shop.wait_until(scheduler.process.assigned_jobs.running)
    for number in range(int(waiting)):
        schedule(app, shop.give, number)
    print("ready", flush=True)
    while True:
        signal.pause()


main(*sys.argv[1:])
