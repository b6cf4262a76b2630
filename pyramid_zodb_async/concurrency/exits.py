"""Calls functions when the process ends in order, whoever has started it."""

import atexit
from collections.abc import Callable
from multiprocessing.util import Finalize

__all__ = ["call_at_exit", "call_exits", "forget_at_exit"]

#: Before what multiprocessing itself finishes, at 15 and less: a job that
#: runs still may use a pool of processes.
PRIORITY = 100

#: What is to be called, in the order in which it was registered.
_exits: dict[Callable[[], object], Finalize] = {}


def call_at_exit(function: Callable[[], object]) -> None:
    """Have a function called when this process ends in order.

    That is once, be it by ``atexit`` or by ``multiprocessing``, whose forked
    children end without ``atexit``. What was registered last is called first.
    A child that is forked later does not call it.

    Args:
        function: what to call. If it is registered already, it becomes the
            last one.
    """
    forget_at_exit(function)
    # It is called once, and only in this process, whoever calls it.
    once = Finalize(None, function, exitpriority=PRIORITY)
    _exits[function] = once
    atexit.register(once)


def forget_at_exit(function: Callable[[], object]) -> None:
    """Undo :func:`call_at_exit`, if that was called.

    Args:
        function: what is not to be called any more.
    """
    if (once := _exits.pop(function, None)) is not None:
        once.cancel()
        atexit.unregister(once)


def call_exits() -> None:
    """Call what is registered now, since nothing else is going to."""
    for once in reversed(list(_exits.values())):
        once()
