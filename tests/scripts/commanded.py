"""An application that Pyramid's commands load, and a look at its jobs."""

import sys
from pathlib import Path

from pyramid.paster import bootstrap
from pyramid.request import Request
from small_site import make_site

from pyramid_zodb_async import IScheduler


def mark(path):
    """Leave a line, so that a test sees that this has begun."""
    with Path(path).open("a") as file:
        file.write("begun\n")


def start(request):
    """Schedule a job that leaves its mark."""
    path = request.registry.settings["mark"]
    return request.accepted(request.schedule(mark, path))


def main(global_config, **settings):
    """Make the application."""
    return make_site(settings, start=start, page=lambda _request: "a page")


def schedule(env):
    """Schedule the job as a script does."""
    request = env["request"]
    with request.tm:
        print(request.schedule(mark, request.registry.settings["mark"]))


def ask(env, environ):
    """Ask the application for a page, as a script can."""
    request = Request.blank("/page", environ)
    assert request.get_response(env["app"]).json == "a page"


def tell(env, sid):
    """Tell what the database says of a job."""
    request = env["request"]
    with request.tm:
        job = request.jobs.get(sid)
        print(job.state, job.attempt, job.owner)


def run(env):
    """Run all jobs, as who is told to."""
    scheduler = env["registry"].getUtility(IScheduler)
    scheduler.start()
    assert scheduler.wait(timeout=60)


if __name__ == "__main__":
    # a job finds its function by the name of its module
    import commanded as this

    with bootstrap(sys.argv[1]) as env:
        for word in sys.argv[2:]:
            if word in {"schedule", "run"}:
                getattr(this, word)(env)
            elif word == "ask":
                ask(env, {})
            elif word == "serve":
                ask(env, {"REMOTE_ADDR": "127.0.0.1"})
                env["registry"].getUtility(IScheduler).wait(timeout=60)
            else:
                tell(env, word)
