"""A script that is killed, with a signal that it cannot catch, by its job."""

import os
import signal
import sys

import serve
from pyramid.paster import bootstrap
from pyramid.threadlocal import get_current_request

from pyramid_zodb_async import IScheduler


def end_process_once():
    """End the process in the first run, and count in the next one."""
    if "killer" in get_current_request().registry.settings:
        os.kill(os.getpid(), signal.SIGKILL)
    return serve.add(1)


if __name__ == "__main__":
    # a job finds its function by the name of its module
    import killed as this

    with bootstrap(sys.argv[1]) as env:
        request, registry = env["request"], env["registry"]
        scheduler = registry.getUtility(IScheduler)
        scheduler.start()
        if sys.argv[2:] == ["kill"]:
            registry.settings["killer"] = "true"
            with request.tm:
                print(request.schedule(this.end_process_once), flush=True)
        scheduler.wait(timeout=60)
        with request.tm:
            print(serve.counts(request)["total"])
