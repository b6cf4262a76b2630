"""A warning where uWSGI does not let Python's threads run."""

import sys

from ..concurrency.loggers import get_logger

__all__ = ["warn_of_missing_threads"]

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
