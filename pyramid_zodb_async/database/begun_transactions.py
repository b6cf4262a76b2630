"""Tells transactions that somebody has begun from those that began unasked.

A transaction manager that is not explicit begins a transaction as soon as
somebody asks for one: when an object is changed, for instance. Nobody may
know of it, and then nobody commits it. Only ``begin()`` tells synchronizers.
"""

import threading
import weakref
from typing import Any

import transaction

__all__ = [
    "IN_REQUEST",
    "of_thread",
    "was_begun",
    "watch_begins",
    "watch_of",
]

#: The key, in the environ of a request, that tells that the request is
#: handled by an application, and that begins are watched on its thread. Its
#: value is what :func:`watch_of` has returned, or ``None``.
IN_REQUEST = "pyramid_zodb_async.in_request"


class _OfThread(threading.local):
    """What is known of the transactions of a thread."""

    #: Its watch, once :func:`watch_begins` was called.
    watch: "_Watch | None" = None


of_thread = _OfThread()


class _Watch:
    """A synchronizer that knows the last transaction that was begun."""

    def __init__(self) -> None:
        self._last: Any = None

    def newTransaction(self, begun: Any) -> None:  # noqa: N802 - the interface's name
        # weak: the objects of a transaction must not outlive it
        self._last = weakref.ref(begun)

    def beforeCompletion(self, _transaction: Any) -> None:  # noqa: N802
        """Do nothing."""

    def afterCompletion(self, _transaction: Any) -> None:  # noqa: N802
        """Do nothing."""

    def has_seen(self, current: Any) -> bool:
        return self._last is not None and self._last() is current


def watch_begins() -> None:
    """Watch which transactions of this thread are begun from now on.

    One that is open now counts as begun: code around the application manages
    it. To be called once in a thread.
    """
    # the manager refers to it weakly
    of_thread.watch = _Watch()
    transaction.manager.registerSynch(of_thread.watch)


def watch_of(manager: Any) -> Any:
    """Watch the begins of a manager that is not that of the thread.

    A transaction that is open now counts as begun.

    Args:
        manager: the manager.

    Returns:
        The watch, which ends with the last reference to it; ``None`` for a
        manager that begins nothing unasked, and for that of the thread.
    """
    if manager.explicit or _is_of_thread(manager):
        return None
    watch = _Watch()
    manager.registerSynch(watch)
    return watch


def was_begun(manager: Any, watch: Any) -> bool:
    """Return whether the current transaction was begun by somebody.

    Args:
        manager: the transaction manager, which has one.
        watch: the watch of that manager; ``None`` if it has none of its own.

    Returns:
        Whether somebody has called ``begin()``, and so is to end it. It is
        true as well if that is not known.
    """
    if _is_of_thread(manager):
        watch = of_thread.watch
    return watch is None or bool(watch.has_seen(manager.get()))


def _is_of_thread(manager: Any) -> bool:
    if isinstance(manager, transaction.ThreadTransactionManager):
        manager = manager.manager
    return manager is transaction.manager.manager
