"""An application whose jobs run elsewhere, and what they do there."""

import os
import signal
import time
from pathlib import Path

from persistent.mapping import PersistentMapping
from pyramid.config import Configurator
from pyramid.threadlocal import get_current_request
from pyramid_zodbconn import get_connection
from shop import INCLUDES

from pyramid_zodb_async import current_job, job

#: How long a job waits for a test, in seconds.
PATIENCE = 90


def counts(request=None):
    """Give what is counted in the database."""
    root = get_connection(request or get_current_request()).root()
    if "counts" not in root:
        root["counts"] = PersistentMapping()
    return root["counts"]


def count(name):
    """Count, and tell which process did so."""
    counts()[name] = counts().get(name, 0) + 1
    return os.getpid()


def wait_for(path):
    end = time.monotonic() + PATIENCE
    while not Path(path).exists():
        assert time.monotonic() < end, f"the test has never made {path}"
        time.sleep(0.01)


def note(path):
    """Let the test know that a run is here."""
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()}\n")


def count_when(name, here, go):
    """Tell that it runs, wait for the test, and count."""
    note(here)
    wait_for(go)
    return count(name)


def report(here, go):
    """Tell of its progress, and wait for the test."""
    current_job().progress(2, 5, "half way")
    note(here)
    wait_for(go)
    return "reported"


def check(here):
    """Work on until somebody does not want it any more."""
    note(here)
    end = time.monotonic() + PATIENCE
    try:
        while time.monotonic() < end:
            current_job().check()
            time.sleep(0.01)
    finally:
        note(f"{here} ended")


def fail_once(name, here):
    """Fail at first."""
    note(here)
    if len(Path(here).read_text().splitlines()) == 1:
        raise OSError("not yet")
    return count(name)


def end_process(here):
    """End the process, as a job that uses up its memory does."""
    note(here)
    os.kill(os.getpid(), signal.SIGKILL)


def schedule_another(name, queue):
    """Schedule a job from a job."""
    request = get_current_request()
    return request.schedule.with_options(queue=queue)(count, name)


@job(queue="reports")
def write_report(name):
    return count(name)


FUNCTIONS = {
    function.__name__: function
    for function in (
        count,
        count_when,
        report,
        check,
        fail_once,
        end_process,
        schedule_another,
        write_report,
    )
}


def start(request):
    """Schedule what the parameters say."""
    params = request.params.mixed()
    function = FUNCTIONS[params.pop("function")]
    arguments = params.pop("argument", [])
    if isinstance(arguments, str):
        arguments = [arguments]
    options = {}
    for name in ("queue", "delay", "priority", "attempts", "time_limit"):
        if name in params:
            value = params.pop(name)
            options[name] = value if name == "queue" else int(value)
    if "retry" in params:
        options.update(retry_on=OSError, backoff=float(params.pop("retry")))
    has_savepoint = params.pop("savepoint", None)
    schedule = request.schedule.with_options(**options)
    sid = schedule(function, *arguments)
    if has_savepoint:
        request.tm.savepoint()
    return request.accepted(sid)


def start_many(request):
    """Schedule a count as often as the parameters say."""
    params = request.params
    schedule = request.schedule.with_options(
        queue=params.get("queue"), delay=float(params.get("delay", 0))
    )
    calls = ((params["name"],) for _ in range(int(params["number"])))
    return list(schedule.many(count, calls))


def tell(request):
    return dict(counts(request))


def main(global_config, **settings):
    """Make the application."""
    with Configurator(settings=settings) as config:
        for include in INCLUDES:
            config.include(include)
        config.add_route("start", "/start")
        config.add_view(start, route_name="start")
        config.add_route("many", "/many")
        config.add_view(start_many, route_name="many", renderer="json")
        config.add_route("tell", "/")
        config.add_view(tell, route_name="tell", renderer="json")
        return config.make_wsgi_app()
