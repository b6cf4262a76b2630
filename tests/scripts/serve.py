"""An application of a few lines, for a server and for scripts beside it."""

import os

from persistent.mapping import PersistentMapping
from pyramid.threadlocal import get_current_request
from pyramid_zodbconn import get_connection
from small_site import make_site


def counts(request):
    """Give what is counted in the database."""
    root = get_connection(request).root()
    if "counts" not in root:
        root["counts"] = PersistentMapping(total=0)
    return root["counts"]


def add(number):
    """Count, and tell which process did so."""
    counts(get_current_request())["total"] += number
    return os.getpid()


def fail():
    """Fail, as a job can."""
    raise ValueError("broken")


def tell(request):
    """Tell what was counted."""
    return {"total": counts(request)["total"], "process": os.getpid()}


def main(global_config, **settings):
    """Make the application."""
    return make_site(settings, tell=tell)
