"""The application that servers load; the environment has its settings.

As a program, this is those servers that have no command, or leaves a job.
"""

import logging
import os
import sys
import time
from pathlib import Path

from pyramid.config import Configurator
from pyramid.response import Response
from pyramid.scripting import prepare
from pyramid.threadlocal import get_current_request
from pyramid_zodbconn import get_connection

logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
logging.getLogger("pyramid_zodb_async").setLevel(logging.INFO)


def work(begun, go):
    """Tell that it has begun, and leave an effect when it may end."""
    Path(begun).touch()
    while not Path(go).exists():
        time.sleep(0.01)  # paces the loop; the condition decides
    get_connection(get_current_request()).root()["effect"] = "done"


def start(request):
    return request.accepted(
        request.schedule(work, os.environ["BEGUN"], os.environ["GO"])
    )


def read(request):
    return Response(str(get_connection(request).root().get("effect")))


def write(request):
    """Change the database, of which no job knows."""
    root = get_connection(request).root()
    root["written"] = root.get("written", 0) + 1
    return Response("written")


def plain(request):
    return Response("no database")


def hold(request):
    """Hold the request, in Python code that a signal can interrupt."""
    Path(os.environ["BEGUN"]).touch()
    while not Path(os.environ["GO"]).exists():
        time.sleep(0.01)  # paces the loop; the condition decides
    return Response("held")


def make():
    settings = {
        "zodbconn.uri": os.environ["URI"],
        "zodb_async.grace": os.environ.get("GRACE", "60"),
        "zodb_async.stop_on_sigterm": os.environ["STOP_ON_SIGTERM"],
    }
    with Configurator(settings=settings) as config:
        for include in ("retry", "tm", "zodbconn", "zodb_async"):
            config.include(f"pyramid_{include}")
        for view in (start, read, write, plain, hold):
            config.add_route(view.__name__, f"/{view.__name__}")
            config.add_view(view, route_name=view.__name__)
        return config.make_wsgi_app()


def serve(server, port):
    """Serve with a server that has no command."""
    if server == "bjoern":
        import bjoern

        bjoern.run(make(), "127.0.0.1", port)
    elif server == "cheroot":
        from cheroot.wsgi import Server

        Server(("127.0.0.1", port), make()).safe_start()
    else:
        from wsgiref.simple_server import make_server

        make_server("127.0.0.1", port, make()).serve_forever()


def leave():
    """Leave a job that nobody runs yet, and tell its sid."""
    with prepare(registry=make().registry) as env, env["request"].tm:
        sid = env["request"].schedule(work, "nowhere", "nowhere")
    sys.stdout.write(sid)


if __name__ == "__main__":
    # jobs are found by the name of their module
    import site_app

    if sys.argv[1:] == ["leave"]:
        site_app.leave()
    else:
        site_app.serve(sys.argv[1], int(sys.argv[2]))
