"""Have a job wait, and stop the scheduler while modules are cleared: URI.

Another stop has gone before, at the exit of the interpreter.
"""

import sys

import shop
from pyramid.config import Configurator
from stored_jobs import request_of

from pyramid_zodb_async import IScheduler


class Keeper:
    """Stops its scheduler when nothing refers to it any more."""

    def __init__(self, scheduler):
        self._scheduler = scheduler

    def __del__(self, write=sys.stdout.write):
        self._scheduler.stop()
        write("stopped")


with Configurator(settings={"zodbconn.uri": sys.argv[1]}) as config:
    for include in shop.WITHOUT_RETRY:
        config.include(include)
    app = config.make_wsgi_app()
scheduler = app.registry.getUtility(IScheduler)
scheduler.start()
with request_of(app) as request:
    request.schedule.with_options(delay=10)(shop.give, 1)
keeper = Keeper(scheduler)
keeper.itself = keeper  # so that it stays until modules are cleared
