"""The queue of an engine, which says what job to run next, and when."""

import heapq
import itertools
import time
from typing import NamedTuple

from ..concurrency.moments import EndOfPause
from ..jobs.options import DEFAULT_QUEUE

__all__ = ["Entry", "JobQueue"]

#: What a heap is ordered by, and the number of an entry, which is greater for
#: a later entry and decides where the first is equal.
_Item = tuple[float, int]

#: How many items the heaps may have whose entries were removed, besides as
#: many as there are entries, before they are taken out.
MOST_OLD = 100

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
    those that are due. It is for one thread at a time. Adding, taking or
    removing a job costs hardly more when there are many.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count()
        #: The entries, by number. An item of a heap whose number is not here
        #: is of an entry that was removed, or that another heap had too.
        self._entries: dict[int, Entry] = {}
        #: The numbers of the entries of a job, of which there may be several.
        self._of_sid: dict[str, list[int]] = {}
        #: The numbers of those that are due.
        self._due: set[int] = set()
        self._ready: list[_Item] = []
        #: By the monotonic clock, since a pause must not depend on a clock
        #: that may be set.
        self._resting: list[_Item] = []
        #: By the system's clock, in seconds since the epoch, since that is
        #: what a due time is given in.
        self._scheduled: list[_Item] = []

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, entry: Entry, due: float | None = None) -> None:
        """Add a job.

        Args:
            entry: the job.
            due: when it is to be run, in seconds since the epoch; ``None``
                for at once. The end of a pause has come when either clock
                says so.
        """
        number = self._add(entry)
        if due is None:
            self._due.add(number)
            heapq.heappush(self._ready, (-entry.priority, number))
            return
        heapq.heappush(self._scheduled, (float(due), number))
        if isinstance(due, EndOfPause):
            heapq.heappush(self._resting, (due.counted, number))

    def rest(self, entry: Entry, seconds: float) -> None:
        """Add a job that is to be run after a pause.

        Args:
            entry: the job.
            seconds: how long the pause is, in seconds.
        """
        item = time.monotonic() + seconds, self._add(entry)
        heapq.heappush(self._resting, item)

    def remove(self, sid: str) -> None:
        """Remove a job, if it is in the queue.

        Args:
            sid: the sid of the job.
        """
        # Their items stay in the heaps, as to remove one from the middle
        # would be slow.
        for number in self._of_sid.pop(sid, ()):
            del self._entries[number]
            self._due.discard(number)
        most = 2 * len(self._entries) + MOST_OLD
        for heap in (self._ready, self._resting, self._scheduled):
            if len(heap) > most:
                heap[:] = [item for item in heap if item[1] in self._entries]
                heapq.heapify(heap)

    def ready(self) -> int:
        """Return the number of jobs that are due."""
        for heap, now in (
            (self._resting, time.monotonic()),
            (self._scheduled, time.time()),
        ):
            while (first := self._first(heap)) is not None and first <= now:
                self.put(self._pop(heap))
        return len(self._due)

    def take(self) -> Entry | None:
        """Remove and return the next job that is due, or ``None``."""
        if not self.ready():
            return None
        self._first(self._ready)
        return self._pop(self._ready)

    def pause(self) -> float | None:
        """Return how long to wait before :meth:`take` may return more.

        Returns:
            A time in seconds, at most until the next job is due; ``None`` if
            no job is due later.
        """
        pauses = []
        if (first := self._first(self._resting)) is not None:
            pauses.append(first - time.monotonic())
        if (first := self._first(self._scheduled)) is not None:
            pauses.append(min(first - time.time(), CLOCK_TRUST))
        return max(0.0, min(pauses)) if pauses else None

    def _add(self, entry: Entry) -> int:
        number = next(self._numbers)
        self._entries[number] = entry
        self._of_sid.setdefault(entry.sid, []).append(number)
        return number

    def _first(self, heap: list[_Item]) -> float | None:
        """Return the first time in a heap, without those of old items."""
        while heap and heap[0][1] not in self._entries:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def _pop(self, heap: list[_Item]) -> Entry:
        """Remove and return the first entry of a heap, which has one."""
        _, number = heapq.heappop(heap)
        entry = self._entries.pop(number)
        self._due.discard(number)
        numbers = self._of_sid[entry.sid]
        numbers.remove(number)
        if not numbers:
            del self._of_sid[entry.sid]
        return entry
