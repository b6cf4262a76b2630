"""Wakes those who wait for a job to change."""

import threading
import time
from collections.abc import Iterable

from zope.interface import implementer

from ..concurrency.forks import call_after_fork
from ..interfaces import IWaiter
from ..jobs.model import Version

__all__ = ["Waiter", "Waiters"]

#: How long a wait goes on at least before progress ends it, in seconds: so
#: somebody who waits again and again is answered twice a second at most.
PROGRESS_PACE = 0.5


class Waiters:
    """Who waits for which jobs in this process.

    Threads may use it at the same time. A change of a job that nobody waits
    for costs next to nothing.
    """

    def __init__(self) -> None:
        self._begin()
        call_after_fork(self._begin)

    def _begin(self) -> None:
        """Know of nobody; in a child they are the parent's."""
        self._lock = threading.Lock()
        self._by_sid: dict[str, set[Waiter]] = {}

    def add(self, sids: Iterable[str]) -> "Waiter":
        """Add a waiter for jobs, from now until it is closed."""
        watch = Waiter(self, frozenset(sids))
        with self._lock:
            for sid in watch.sids:
                self._by_sid.setdefault(sid, set()).add(watch)
        return watch

    def close(self, watch: "Waiter") -> None:
        """Forget a watch."""
        with self._lock:
            for sid in watch.sids:
                watches = self._by_sid.get(sid, set())
                watches.discard(watch)
                if not watches:
                    self._by_sid.pop(sid, None)

    def sids(self) -> list[str]:
        """List the sids of the jobs that are watched."""
        with self._lock:
            return list(self._by_sid)

    def __bool__(self) -> bool:
        return bool(self._by_sid)

    def wake(self, sid: str, *, is_progress: bool = False) -> None:
        """Wake those who wait for the job; *is_progress* may wait a bit."""
        if sid not in self._by_sid:
            return
        with self._lock:
            for watch in self._by_sid.get(sid, ()):
                watch.notify(is_progress=is_progress)

    def compare(self, sid: str, version: Version | None) -> None:
        """Wake those who have seen an older version, or one of a job gone."""
        with self._lock:
            for watch in self._by_sid.get(sid, ()):
                watch.compare(sid, version)


@implementer(IWaiter)
class Waiter:
    """One who waits for jobs."""

    def __init__(self, waiters: Waiters, sids: frozenset[str]) -> None:
        self.sids = sids
        #: What its owner has seen of the jobs since it was made.
        self.seen: dict[str, Version] = {}
        self._waiters = waiters
        self._woken = threading.Event()
        self._has_changed = False
        self._has_moved = False
        self._begin: float | None = None

    def notify(self, *, is_progress: bool) -> None:
        """Take note of a change of one of the jobs."""
        if is_progress:
            self._has_moved = True
        else:
            self._has_changed = True
        self._woken.set()

    def compare(self, sid: str, version: Version | None) -> None:
        """Take note of what a job is now; ``None`` if it is not any more."""
        seen = self.seen.get(sid)
        if seen is None:
            return
        if version is None or version[:2] > seen[:2]:
            self.notify(is_progress=False)
        elif version > seen and version.progress > seen.progress:
            self.notify(is_progress=True)

    def wait(self, seconds: float) -> bool:
        """Wait for a change since the watch was made.

        Returns whether there was one within *seconds*. Progress counts when
        half a second has passed since the first wait began.
        """
        begin = time.monotonic()
        if self._begin is None:
            self._begin = begin
        while True:
            end = begin + seconds
            if self._has_changed:
                return True
            if self._has_moved:
                end = min(end, self._begin + PROGRESS_PACE)
            left = end - time.monotonic()
            if left <= 0:
                return self._has_moved
            self._woken.wait(left)
            self._woken.clear()

    def close(self) -> None:
        """Wait no more."""
        self._waiters.close(self)
