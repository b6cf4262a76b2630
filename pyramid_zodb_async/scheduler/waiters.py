"""The waiters of a process, which are woken when a job changes."""

import threading
import time
from collections.abc import Iterable

from zope.interface import implementer

from ..concurrency.forks import call_after_fork
from ..contracts import IWaiter
from ..jobs.model import without_changes

__all__ = ["Waiter", "Waiters"]

#: For how long a waiter waits at least before progress ends its wait, in
#: seconds. So a client that asks again and again gets an answer twice a
#: second at most, however often the job reports progress. Here it counts as
#: progress too that a run has begun, or is to be repeated.
PROGRESS_PACE = 0.5


class Waiters:
    """The waiters of this process, by the jobs that they wait for.

    Threads may use it at the same time. A change of a job that has no waiter
    costs one look-up in a dictionary.
    """

    def __init__(self) -> None:
        self._begin()
        call_after_fork(self._begin)

    def _begin(self) -> None:
        """Start with no waiters.

        Called again in a forked child, where the parent's threads, and thus
        their waiters, do not exist.
        """
        self._lock = threading.Lock()
        self._by_sid: dict[str, set[Waiter]] = {}

    def add(self, sids: Iterable[str]) -> "Waiter":
        """Return a new waiter for jobs, which is notified until it is closed.

        Add it before the jobs are read: then a change between the reading
        and the wait is not missed.

        Args:
            sids: the sids of the jobs.
        """
        waiter = Waiter(self, frozenset(sids))
        with self._lock:
            for sid in waiter.sids:
                self._by_sid.setdefault(sid, set()).add(waiter)
        return waiter

    def limit(self, waiter: "Waiter", sids: Iterable[str]) -> None:
        """Have a waiter wait for some of its jobs only.

        What it has noted of the others is forgotten.

        Args:
            waiter: the waiter.
            sids: the sids of the jobs that remain; none if it is closed.
        """
        with self._lock:
            dropped = waiter.sids.difference(sids)
            for sid in dropped:
                waiters = self._by_sid.get(sid, set())
                waiters.discard(waiter)
                if not waiters:
                    self._by_sid.pop(sid, None)
            waiter.forget(dropped)

    def sids(self) -> list[str]:
        """Return the sids of the jobs that have waiters."""
        with self._lock:
            return list(self._by_sid)

    def __bool__(self) -> bool:
        return bool(self._by_sid)

    def wake(self, sid: str, *, is_progress: bool = False) -> None:
        """Wake the waiters of a job that has changed.

        Args:
            sid: the sid of the job.
            is_progress: whether only the progress of its run has changed;
                see ``Waiter.wait()``.
        """
        # Without the lock, since nearly no job has a waiter. A waiter that
        # is added just now belongs to a thread that has not read the job yet.
        if sid not in self._by_sid:
            return
        with self._lock:
            for waiter in self._by_sid.get(sid, ()):
                waiter.notify(sid, is_progress=is_progress)

    def compare(self, sid: str, version: int | None) -> None:
        """Wake the waiters of a job that have seen an older version of it.

        Args:
            sid: the sid of the job.
            version: what the database has; ``None`` if the job is gone.
        """
        with self._lock:
            for waiter in self._by_sid.get(sid, ()):
                waiter.compare(sid, version)


@implementer(IWaiter)
class Waiter:
    """Waits, on one thread, until one of some jobs changes.

    Args:
        waiters: where to remove the waiter when it is closed.
        sids: the sids of the jobs.
    """

    def __init__(self, waiters: Waiters, sids: frozenset[str]) -> None:
        self.sids = sids
        #: The versions of the jobs that the client knows, by sid.
        self.seen: dict[str, int] = {}
        self._waiters = waiters
        self._woken = threading.Event()
        #: The jobs that have changed otherwise than by their progress.
        self._changed: set[str] = set()
        #: Those that have reported progress.
        self._moved: set[str] = set()
        #: When the first wait began, on the monotonic clock.
        self._begin: float | None = None

    def notify(self, sid: str, *, is_progress: bool) -> None:
        """Record that one of the jobs has changed.

        Args:
            sid: the sid of the job.
            is_progress: whether only its progress has changed.
        """
        # Noted before the event: the waiting thread reads what is noted when
        # the event has woken it.
        (self._moved if is_progress else self._changed).add(sid)
        self._woken.set()

    def limit(self, sids: Iterable[str]) -> None:
        """See :class:`~pyramid_zodb_async.contracts.IWaiter`."""
        self._waiters.limit(self, sids)

    def forget(self, sids: frozenset[str]) -> None:
        """Forget jobs, and what was noted of them; ``Waiters`` calls this.

        Args:
            sids: the sids of the jobs.
        """
        self.sids -= sids
        self._changed -= sids
        self._moved -= sids

    def compare(self, sid: str, version: int | None) -> None:
        """Record a change of a job if the client knows an older version.

        Args:
            sid: the sid of the job.
            version: what the database has; ``None`` if the job is gone.
        """
        seen = self.seen.get(sid)
        if seen is None:
            return
        if version is None or without_changes(version) > seen:
            self.notify(sid, is_progress=False)
        elif version > seen:
            self.notify(sid, is_progress=True)

    def wait(self, seconds: float) -> bool:
        """Wait for a change since the waiter was made.

        Progress ends the wait when ``PROGRESS_PACE`` has passed since
        the first wait began, other changes end it at once.

        Args:
            seconds: the longest wait.

        Returns:
            Whether there was a change.
        """
        begin = time.monotonic()
        if self._begin is None:
            self._begin = begin
        while True:
            end = begin + seconds
            if self._changed:
                return True
            if self._moved:
                end = min(end, self._begin + PROGRESS_PACE)
            left = end - time.monotonic()
            if left <= 0:
                return bool(self._moved)
            self._woken.wait(left)
            # Cleared before what is noted is read again: a change after that
            # sets the event again, so none is missed.
            self._woken.clear()

    def close(self) -> None:
        """Stop being notified; to be called when the wait is over."""
        self._waiters.limit(self, ())
