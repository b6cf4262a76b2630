"""What uWSGI does about threads: it may stop them, or fork beside them."""

import os
import sys
from typing import Any

from ..concurrency.loggers import get_logger

__all__ = ["may_start_at_once", "warn_of_missing_threads"]

log = get_logger(__name__)


def warn_of_missing_threads() -> None:
    """Warn if this is uWSGI, and it keeps the GIL between requests.

    Jobs, signs of life and messages to a broker have threads of their own.
    """
    # uWSGI makes this module, which nobody can install
    uwsgi = sys.modules.get("uwsgi")
    if getattr(uwsgi, "has_threads", 1):
        return
    log.warning(
        "uWSGI runs without threads, so jobs run only while a request is"
        " answered, and others take them over: set enable-threads = true.",
        extra={"action": "threads_missing"},
    )


def may_start_at_once() -> bool:
    """Return whether threads may be started before there is a request.

    uWSGI forks its workers from the process that has loaded the application,
    unless that is to be done in each of them. It does so without taking the
    GIL, so a worker that is forked while another thread has it hangs for
    ever. The log tells the cure then.
    """
    uwsgi: Any = sys.modules.get("uwsgi")
    if not hasattr(uwsgi, "worker_id") or uwsgi.worker_id() != 0:
        return True
    if uwsgi.masterpid() != os.getpid() and uwsgi.numproc == 1:
        return True
    log.warning(
        "uWSGI is going to fork this process, so zodb_async.autostart has no"
        " effect: set lazy-apps = true.",
        extra={"action": "autostart_before_fork"},
    )
    return False
