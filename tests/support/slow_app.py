"""An application whose jobs take until a test lets them go."""

import logging
import time
from pathlib import Path

import shop
from pyramid.config import Configurator


def work_slowly(go):
    """Leave an effect when there is a file of that name."""
    while not Path(go).exists():
        time.sleep(0.01)
    shop.add("done")


def start(request):
    go = request.registry.settings["go"]
    return request.accepted(request.schedule(work_slowly, go))


def main(_global_config, **settings):
    logging.getLogger("pyramid_zodb_async").setLevel(logging.INFO)
    with Configurator(settings=settings) as config:
        for include in shop.WITHOUT_RETRY:
            config.include(include)
        config.add_route("start", "/start")
        config.add_view(start, route_name="start")
        return config.make_wsgi_app()
