"""Has the signal that ends a process stop it in order."""

import logging
import signal
import threading
from types import FrameType

__all__ = ["stop_on_sigterm"]

log = logging.getLogger(__name__)


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
