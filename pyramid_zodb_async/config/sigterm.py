"""The handler of SIGTERM, by which running jobs can end before the process."""

import functools
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

from ..concurrency.exits import call_exits, exit_has_begun
from ..concurrency.loggers import get_logger
from ..concurrency.threads import start_thread

__all__ = ["stop_on_sigterm"]

log = get_logger(__name__)

#: How long a server may take to end, and then the threads of the application,
#: before the jobs are told to, in seconds. waitress and cheroot give requests
#: five.
PATIENCE = 10.0


def stop_on_sigterm() -> None:
    """Have SIGTERM end the process as ``sys.exit()`` in its main thread does.

    So a server that waits for requests in the main thread, as waitress does,
    shuts down, and functions that are registered with :mod:`atexit` are
    called: engines wait for their jobs. A second SIGTERM ends the process at
    once. If the process has a handler already, as with gunicorn, that stays,
    and the log says so. A child that is forked has the handler of before.
    """
    _watch_forks()
    handler = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread():
        log.warning(
            "The setting zodb_async.stop_on_sigterm has no effect here: only"
            " the main thread of a process can handle signals, and the"
            " application was made by another one.",
            extra={"action": "sigterm_not_handled"},
        )
    elif handler is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _stop)
    elif _raises_it_again(handler):
        signal.signal(signal.SIGTERM, _Held(handler))
    elif handler is not _stop and not isinstance(handler, _Held):
        log.info(
            "SIGTERM is handled by %s, so zodb_async.stop_on_sigterm has no"
            " effect: jobs are waited for if that has the interpreter end in"
            " order.",
            _name_of(handler),
            extra={"action": "sigterm_handled_by_another"},
        )


# cached, because the registration cannot be undone and must happen only once
@functools.cache
def _watch_forks() -> None:
    os.register_at_fork(
        before=_hold_signal,
        after_in_parent=_release_signal,
        after_in_child=_leave_to_child,
    )


class _Forking(threading.local):
    """The signals that are blocked in a thread when it begins to fork."""

    blocked: set[int] | None = None


_forking = _Forking()


def _hold_signal() -> None:
    """Have the signal wait until a child can be ended by it.

    Python forgets in a new child which signals its handlers are to be called
    for, so one that comes as the child begins would be lost.
    """
    _forking.blocked = signal.pthread_sigmask(
        signal.SIG_BLOCK, {signal.SIGTERM}
    )


def _release_signal() -> None:
    # a server in C may call what is for the child and nothing before it
    if _forking.blocked is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _forking.blocked)
        _forking.blocked = None


def _leave_to_child() -> None:
    """Take the handler away in a child, which has no jobs to wait for."""
    _take_handler_away()
    # last, as one that came meanwhile ends the child here
    _release_signal()


def _take_handler_away() -> None:
    handler = signal.getsignal(signal.SIGTERM)
    if handler is _stop:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    elif isinstance(handler, _Held):
        signal.signal(signal.SIGTERM, handler.handler)


def _name_of(handler: Any) -> str:
    """Return what is to be said of a handler of a signal."""
    if handler is signal.SIG_IGN or handler is None:
        return "the server, and not by Python"
    module = getattr(handler, "__module__", type(handler).__module__)
    name = getattr(handler, "__qualname__", type(handler).__qualname__)
    return f"{module}.{name}"


def _raises_it_again(handler: Any) -> bool:
    """Return whether a server ends by the signal itself, at last.

    uvicorn does when it has stopped, with the handler of before. In the
    workers of ``uvicorn --workers`` there was none.
    """
    return getattr(handler, "__module__", None) == "uvicorn.server"


class _Held:
    """A handler that lets a server stop, and then the process in order.

    Args:
        handler: the handler of the server.
    """

    def __init__(self, handler: Any) -> None:
        self.handler = handler

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        self.handler(signum, frame)
        # In this thread only, where the server is going to raise it. From
        # elsewhere a second one gets to another thread.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signum})


def _stop(_signum: int, _frame: FrameType | None) -> None:
    # first, so that a second SIGTERM ends the process whatever happens below
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    log.info(
        "SIGTERM: the process stops when its jobs have ended.",
        extra={"action": "sigterm"},
    )
    if exit_has_begun():
        # hypercorn ends its workers so when one of them has ended
        return
    start_thread(
        "exit",
        _see_to_the_end,
        action="exit_not_watched",
        missing="Whether the server ends cannot be watched now.",
    )
    sys.exit(0)


def _see_to_the_end() -> None:
    """End the process in order if it does not end by itself.

    A server in C, such as bjoern, may call handlers of signals and ignore
    what they raise; another one takes it for a failure of the request that it
    is at. Nothing tells of that but that the time goes by. And a process whose
    main thread has ended, and whose jobs have, waits for threads that are no
    daemons.
    """
    main = threading.main_thread()
    main.join(PATIENCE)
    if main.is_alive() and not exit_has_begun():
        who = "the server goes on nevertheless"
    else:
        main.join()
        # they may be about to end, and this thread with the process
        time.sleep(PATIENCE)
        if not (names := _lasting_threads()):
            return
        who = f"threads that are no daemons go on ({names})"
    log.warning(
        "SIGTERM: %s, so the process is ended when its jobs have.",
        who,
        extra={"action": "server_ended"},
    )
    call_exits()
    os.kill(os.getpid(), signal.SIGTERM)


def _lasting_threads() -> str:
    """Return the names of the threads that the interpreter waits for."""
    main = threading.main_thread()
    return ", ".join(
        thread.name
        for thread in threading.enumerate()
        if not thread.daemon and thread is not main
    )
