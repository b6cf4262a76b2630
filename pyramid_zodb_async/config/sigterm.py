"""The handler of SIGTERM, by which running jobs can end before the process."""

import signal
import threading
from types import FrameType

from ..concurrency.loggers import get_logger

__all__ = ["stop_on_sigterm"]

log = get_logger(__name__)


def stop_on_sigterm() -> None:
    """Have SIGTERM end the process as ``sys.exit()`` in its main thread does.

    So a server that waits for requests in the main thread, as waitress does,
    shuts down, and functions that are registered with :mod:`atexit` are
    called: engines wait for their jobs. A second SIGTERM ends the process at
    once. If the process has a handler already, as with gunicorn, that stays.
    """
    if threading.current_thread() is not threading.main_thread():
        log.warning(
            "The setting zodb_async.stop_on_sigterm has no effect here: only"
            " the main thread of a process can handle signals, and the"
            " application was made by another one.",
            extra={"action": "sigterm_not_handled"},
        )
    elif signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _stop)


def _stop(_signum: int, _frame: FrameType | None) -> None:
    # first, so that a second SIGTERM ends the process whatever happens below
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    log.info(
        "SIGTERM: the process stops when its jobs have ended.",
        extra={"action": "sigterm"},
    )
    raise SystemExit(0)
