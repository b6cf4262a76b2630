"""An application whose job goes on until a file is there."""

import time
from pathlib import Path

from pyramid.config import Configurator


def hold(folder):
    """Tell that the job has begun, and wait for leave."""
    with (Path(folder) / "begun").open("a") as file:
        file.write("begun\n")
    while not (Path(folder) / "leave").exists():
        time.sleep(0.02)  # paces the loop; the condition decides


def start(request):
    """Schedule the job."""
    folder = request.registry.settings["folder"]
    return request.accepted(request.schedule(hold, folder))


def main(global_config, **settings):
    """Make the application."""
    with Configurator(settings=settings) as config:
        config.include("pyramid_retry")
        config.include("pyramid_tm")
        config.include("pyramid_zodbconn")
        config.include("pyramid_zodb_async")
        config.add_route("start", "/start")
        config.add_view(start, route_name="start")
        return config.make_wsgi_app()
