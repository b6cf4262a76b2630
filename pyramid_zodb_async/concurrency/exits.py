"""Calls functions when the process ends in order, whoever has started it."""

import atexit
import concurrent.futures.process
import concurrent.futures.thread  # noqa: F401 - both register what they do
import threading
from collections.abc import Callable
from multiprocessing.util import Finalize

__all__ = ["call_at_exit", "call_exits", "exit_has_begun", "forget_at_exit"]

#: Before what multiprocessing itself finishes, at 15 and less: a job that
#: runs still may use a pool of processes.
PRIORITY = 100

#: What is to be called, in the order in which it was registered.
_exits: dict[Callable[[], object], Finalize] = {}

_exiting = threading.Event()

#: Whether the interpreter is calling them, and whether it has.
_shutdown_begun = threading.Event()
_shutdown_ended = threading.Event()


def call_at_exit(function: Callable[[], object]) -> None:
    """Have a function called when this process ends in order.

    That is once, be it by ``threading``, by ``atexit`` or by
    ``multiprocessing``, whose forked children end without ``atexit``. What was
    registered last is called first. A child that is forked later does not call
    it.

    Args:
        function: what to call. If it is registered already, it becomes the
            last one.
    """
    forget_at_exit(function)
    # It is called once, and only in this process, whoever calls it.
    once = Finalize(None, _call, (function,), exitpriority=PRIORITY)
    _exits[function] = once
    atexit.register(once)


def _call(function: Callable[[], object]) -> None:
    _exiting.set()
    function()


def exit_has_begun() -> bool:
    """Return whether functions are called, or were, as the process ends."""
    return _exiting.is_set()


def forget_at_exit(function: Callable[[], object]) -> None:
    """Undo :func:`call_at_exit`, if that was called.

    Args:
        function: what is not to be called any more.
    """
    if (once := _exits.pop(function, None)) is not None:
        once.cancel()
        atexit.unregister(once)


def _call_at_shutdown() -> None:
    """Call what is registered, when the main thread has ended.

    ``atexit`` would be too late. Before that, the interpreter has
    ``concurrent.futures`` take no more calls, for which a job would fail that
    is waited for, and waits for threads that are no daemons, which may be for
    ever.
    """
    _shutdown_begun.set()
    try:
        for once in reversed(list(_exits.values())):
            once()
    finally:
        _shutdown_ended.set()


# It is not documented, but nothing else comes before
# concurrent.futures, which uses it too. Who is registered last is called
# first, so this is after the imports.
getattr(threading, "_register_atexit", atexit.register)(_call_at_shutdown)


def call_exits() -> None:
    """Call what is registered now, since nothing else is going to.

    If the process ends in order meanwhile, it waits until this has returned,
    and if it does already, this waits until that has been called.
    """
    if _shutdown_begun.is_set():
        _shutdown_ended.wait()
        return
    done = threading.Event()
    calls = list(_exits.values())
    call_at_exit(done.wait)
    for once in reversed(calls):
        once()
    done.set()
    forget_at_exit(done.wait)
