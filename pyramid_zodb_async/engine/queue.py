"""The queue of an engine: which job is to be run next, and when."""

import heapq
import itertools
import time
from typing import NamedTuple

from ..jobs.options import DEFAULT_QUEUE

__all__ = ["Entry", "JobQueue"]

#: What a heap is ordered by, a number to tell equal ones apart, and a job.
_Item = tuple[float, int, "Entry"]

#: The longest time to trust the clock for, in seconds: it may be set.
CLOCK_TRUST = 5.0


class Entry(NamedTuple):
    """A job that waits to be run."""

    sid: str
    priority: int = 0
    queue: str = DEFAULT_QUEUE


class JobQueue:
    """Jobs in the order of their priority, and of their coming.

    What is due later waits apart. It is for one thread at a time.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._ready: list[_Item] = []
        #: By the monotonic clock, which nobody sets.
        self._resting: list[_Item] = []
        #: By the clock on the wall, in seconds since the epoch.
        self._scheduled: list[_Item] = []

    def __len__(self) -> int:
        return len(self._ready) + len(self._resting) + len(self._scheduled)

    def put(self, entry: Entry, due: float | None = None) -> None:
        """Have a job run at once, or when it is *due*: s since the epoch."""
        number = next(self._numbers)
        if due is None:
            heapq.heappush(self._ready, (-entry.priority, number, entry))
        else:
            heapq.heappush(self._scheduled, (due, number, entry))

    def rest(self, entry: Entry, seconds: float) -> None:
        """Have a job run after so many seconds."""
        item = time.monotonic() + seconds, next(self._numbers), entry
        heapq.heappush(self._resting, item)

    def remove(self, sid: str) -> None:
        """Forget a job, if it is there."""
        self._ready = _without(sid, self._ready)
        self._resting = _without(sid, self._resting)
        self._scheduled = _without(sid, self._scheduled)

    def ready(self) -> int:
        """Count the jobs that are due."""
        for heap, now in (
            (self._resting, time.monotonic()),
            (self._scheduled, time.time()),
        ):
            while heap and heap[0][0] <= now:
                self.put(heapq.heappop(heap)[2])
        return len(self._ready)

    def take(self) -> Entry | None:
        """Give the next job that is due, or ``None`` if none is."""
        return heapq.heappop(self._ready)[2] if self.ready() else None

    def pause(self) -> float | None:
        """Tell when to ask again: in so many seconds; ``None``: never."""
        pauses = []
        if self._resting:
            pauses.append(self._resting[0][0] - time.monotonic())
        if self._scheduled:
            left = self._scheduled[0][0] - time.time()
            pauses.append(min(left, CLOCK_TRUST))
        return max(0.0, min(pauses)) if pauses else None


def _without(sid: str, heap: list[_Item]) -> list[_Item]:
    kept = [item for item in heap if item[2].sid != sid]
    heapq.heapify(kept)
    return kept
