"""Calls methods of objects in a process that was forked, to start anew."""

import functools
import os
import threading
import weakref
from collections.abc import Callable

__all__ = ["call_after_fork", "notice_fork"]

_methods: list[weakref.WeakMethod[Callable[[], None]]] = []

#: This process, and those before it, in which they were called or need not be.
_known = {os.getpid()}

_lock = threading.Lock()


def call_after_fork(method: Callable[[], None]) -> None:
    """Have a method called in each forked child while its object exists.

    A fork copies no threads but the one that forks. A lock that another
    thread has acquired at that moment is never released in the child, so an
    object with locks or threads must make new ones there.

    Args:
        method: a bound method without parameters. Its object is not kept
            alive by this.
    """
    _watch_forks()
    _methods[:] = [known for known in _methods if known() is not None]
    _methods.append(weakref.WeakMethod(method))


# cached, because the registration cannot be undone and must happen only once
@functools.cache
def _watch_forks() -> None:
    os.register_at_fork(after_in_child=_call_all)


def notice_fork() -> None:
    """Call the methods if this is a child in which nobody has called them.

    Python does not learn of a fork of a server in C, such as uWSGI. So who is
    the first to act in a process calls this.
    """
    # several threads may be the first
    with _lock:
        if os.getpid() not in _known:
            _call_all()


def _call_all() -> None:
    for known in _methods:
        if method := known():
            method()
    _known.add(os.getpid())
