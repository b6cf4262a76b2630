"""An application whose jobs take until a test lets them go."""

import time
from pathlib import Path

import shop
from pyramid.config import Configurator


def work_slowly(folder):
    """Tell that it has begun, and leave an effect when it may end."""
    with (Path(folder) / "begun").open("a") as file:
        file.write("begun\n")
    while not (Path(folder) / "leave").exists():
        time.sleep(0.01)  # paces the loop; the condition decides
    shop.add("done")


def start(request):
    folder = request.registry.settings["folder"]
    return request.accepted(request.schedule(work_slowly, folder))


def main(_global_config, **settings):
    with Configurator(settings=settings) as config:
        for include in shop.INCLUDES:
            config.include(include)
        config.add_route("start", "/start")
        config.add_view(start, route_name="start")
        return config.make_wsgi_app()
