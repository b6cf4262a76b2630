"""The queue of an engine, which says what job to run next, and when."""

import heapq
import itertools
import time
from typing import NamedTuple

from ..jobs.options import DEFAULT_QUEUE

__all__ = ["Entry", "JobQueue"]

#: What a heap is ordered by; a number, which is greater for a later entry and
#: decides where the first is equal; and the job.
_Item = tuple[float, int, "Entry"]

#: The longest pause before the clock is read again while a job is due later,
#: in seconds: the clock may be set, which no process is notified of.
CLOCK_TRUST = 5.0


class Entry(NamedTuple):
    """A job that waits to be run, or a message that waits to be sent."""

    sid: str
    #: Of the jobs that are due, one with a greater priority is run first.
    priority: int = 0
    #: The name of the queue of the job, which decides what workers run it.
    queue: str = DEFAULT_QUEUE


class JobQueue:
    """Jobs in the order of their priorities, then of their submission.

    Jobs that are due later are stored apart, so that they do not come before
    those that are due. It is for one thread at a time.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._ready: list[_Item] = []
        #: By the monotonic clock, since a pause must not depend on a clock
        #: that may be set.
        self._resting: list[_Item] = []
        #: By the system's clock, in seconds since the epoch, since that is
        #: what a due time is given in.
        self._scheduled: list[_Item] = []

    def __len__(self) -> int:
        return len(self._ready) + len(self._resting) + len(self._scheduled)

    def put(self, entry: Entry, due: float | None = None) -> None:
        """Add a job.

        Args:
            entry: the job.
            due: when it is to be run, in seconds since the epoch; ``None``
                for at once.
        """
        number = next(self._numbers)
        if due is None:
            heapq.heappush(self._ready, (-entry.priority, number, entry))
        else:
            heapq.heappush(self._scheduled, (due, number, entry))

    def rest(self, entry: Entry, seconds: float) -> None:
        """Add a job that is to be run after a pause.

        Args:
            entry: the job.
            seconds: how long the pause is, in seconds.
        """
        item = time.monotonic() + seconds, next(self._numbers), entry
        heapq.heappush(self._resting, item)

    def remove(self, sid: str) -> None:
        """Remove a job, if it is in the queue.

        Args:
            sid: the sid of the job.
        """
        self._ready = _without(sid, self._ready)
        self._resting = _without(sid, self._resting)
        self._scheduled = _without(sid, self._scheduled)

    def ready(self) -> int:
        """Return the number of jobs that are due."""
        for heap, now in (
            (self._resting, time.monotonic()),
            (self._scheduled, time.time()),
        ):
            while heap and heap[0][0] <= now:
                self.put(heapq.heappop(heap)[2])
        return len(self._ready)

    def take(self) -> Entry | None:
        """Remove and return the next job that is due, or ``None``."""
        return heapq.heappop(self._ready)[2] if self.ready() else None

    def pause(self) -> float | None:
        """Return how long to wait before :meth:`take` may return more.

        Returns:
            A time in seconds, at most until the next job is due; ``None`` if
            no job is due later.
        """
        pauses = []
        if self._resting:
            pauses.append(self._resting[0][0] - time.monotonic())
        if self._scheduled:
            left = self._scheduled[0][0] - time.time()
            pauses.append(min(left, CLOCK_TRUST))
        return max(0.0, min(pauses)) if pauses else None


def _without(sid: str, heap: list[_Item]) -> list[_Item]:
    """Return a heap of all items but those of a job."""
    others = [item for item in heap if item[2].sid != sid]
    heapq.heapify(others)
    return others
