"""A process that can start no more threads for a while."""

import contextlib
import threading

import pytest


@contextlib.contextmanager
def no_new_threads():
    """Refuse each start of a thread, as an interpreter does at the limit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", _refuse)
        yield


def _refuse(thread):
    raise RuntimeError("can't start new thread")
