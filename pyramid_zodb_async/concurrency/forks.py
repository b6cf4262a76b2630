"""Tells objects that their process is the child of the one they knew."""

import functools
import os
import weakref
from collections.abc import Callable

__all__ = ["call_after_fork"]

_methods: list[weakref.WeakMethod[Callable[[], None]]] = []


def call_after_fork(method: Callable[[], None]) -> None:
    """Call a bound method in each child, as long as its object lives.

    Threads do not follow into a child, and a lock that one of them held at
    that moment is never released there.
    """
    _watch_forks()
    _methods[:] = [known for known in _methods if known() is not None]
    _methods.append(weakref.WeakMethod(method))


@functools.cache
def _watch_forks() -> None:
    os.register_at_fork(after_in_child=_call_all)


def _call_all() -> None:
    for known in _methods:
        if method := known():
            method()
