"""Has the signal that ends a process stop it in order."""

import logging
import signal
import threading
import traceback
from types import FrameType

__all__ = ["is_told_to_stop", "stop_on_sigterm"]

log = logging.getLogger(__name__)

#: Where the handlers of Celery are that end a worker, or a child of one.
HANDLERS = ("billiard.common", "celery.apps.worker")


def is_told_to_stop(error: BaseException) -> bool:
    """Tell whether a signal that ends a worker of Celery raised *error*.

    Handlers run in the main thread, in the middle of whatever that is at: so
    what they raise seems to come from there.
    """
    return any(
        frame.f_globals.get("__name__") in HANDLERS
        for frame, _ in traceback.walk_tb(error.__traceback__)
    )


def stop_on_sigterm() -> None:
    """Have SIGTERM end the process as ``sys.exit()`` in its main thread does.

    So servers that wait for requests there, as waitress does, end in order,
    and what is registered with :mod:`atexit` is done: engines wait for their
    jobs. A second SIGTERM ends the process at once. It is left alone where
    somebody has handled the signal already, as gunicorn does.
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
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    log.info(
        "SIGTERM: the process stops when its jobs have ended.",
        extra={"action": "sigterm"},
    )
    raise SystemExit(0)
