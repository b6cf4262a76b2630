"""The queue of an engine, which says what job to run next, and when."""

import heapq
import itertools
import time
from bisect import bisect_left, insort
from collections.abc import Callable
from typing import NamedTuple

from ..concurrency.moments import EndOfPause
from ..jobs.options import DEFAULT_QUEUE
from .lines import Line

__all__ = ["Entry", "JobQueue"]

#: When a job is due; the number of its wait, which is greater for a later one
#: and decides where the first is equal; its sid; and its priority.
_Item = tuple[float, int, str, int]

#: How many items the heaps may have whose jobs were removed, besides as many
#: as there are jobs that wait for a time, before they are taken out.
MOST_OLD = 100

#: How many lines are at hand for the next jobs of their priorities though
#: nothing is in them.
MOST_LINES = 16

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
    removing a job costs hardly more when there are many. There may be very
    many, so of one that is due it has little more than the sid.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count()
        #: Where a job is: in lines, or by numbers in a heap. It may be in
        #: several places, and in one of them several times. An item of a heap
        #: whose number is not here is of a job that was removed, or that
        #: another heap had too.
        self._places: dict[str, tuple[Line | int, ...]] = {}
        #: The queues of the jobs that are not in the usual one.
        self._queues: dict[str, str] = {}
        #: By priority, the jobs that are due.
        self._lines: dict[int, Line] = {}
        #: The priorities of the lines with jobs, the greatest one last.
        self._priorities: list[int] = []
        #: How many entries are due, and how many are due later.
        self._due = self._later = 0
        #: By the monotonic clock, since a pause must not depend on a clock
        #: that may be set.
        self._resting: list[_Item] = []
        #: By the system's clock, in seconds since the epoch, since that is
        #: what a due time is given in.
        self._scheduled: list[_Item] = []

    def __len__(self) -> int:
        return self._due + self._later

    def put(self, entry: Entry, due: float | None = None) -> None:
        """Add a job.

        Args:
            entry: the job.
            due: when it is to be run, in seconds since the epoch; ``None``
                for at once. The end of a pause has come when either clock
                says so.
        """
        sid, priority = self._note_queue(entry)
        if due is None:
            self._put_in_line(sid, priority)
            return
        number = self._next_number(sid)
        heapq.heappush(self._scheduled, (float(due), number, sid, priority))
        if isinstance(due, EndOfPause):
            item = due.counted, number, sid, priority
            heapq.heappush(self._resting, item)

    def put_back(self, entry: Entry) -> None:
        """Add a job that was taken, before all others of its priority.

        Args:
            entry: the job.
        """
        sid, priority = self._note_queue(entry)
        self._put_in_line(sid, priority, is_first=True)

    def rest(self, entry: Entry, seconds: float) -> None:
        """Add a job that is to be run after a pause.

        Args:
            entry: the job.
            seconds: how long the pause is, in seconds.
        """
        sid, priority = self._note_queue(entry)
        end = time.monotonic() + seconds
        item = end, self._next_number(sid), sid, priority
        heapq.heappush(self._resting, item)

    def remove(self, sid: str) -> bool:
        """Remove a job, if it is in the queue.

        Args:
            sid: the sid of the job.

        Returns:
            Whether it was there.
        """
        places = self._places.pop(sid, ())
        for place in places:
            if isinstance(place, Line):
                place.remove(sid)
                self._note_taken(place)
            else:
                self._later -= 1
        self._queues.pop(sid, None)
        # Their items stay in the heaps, as to remove one from the middle
        # would be slow.
        most = 2 * self._later + MOST_OLD
        for heap in (self._resting, self._scheduled):
            if len(heap) > most:
                heap[:] = [item for item in heap if self._is_valid(item)]
                heapq.heapify(heap)
        return bool(places)

    def ready(self) -> int:
        """Return the number of jobs that are due."""
        if self._later:
            self._note_due(self._resting, time.monotonic())
            self._note_due(self._scheduled, time.time())
        return self._due

    def take_if(self, accepts: Callable[[str], bool]) -> Entry | None:
        """Do what :meth:`take` does if the next job is one of some kind.

        Args:
            accepts: returns whether a sid is one of such a job.
        """
        if not self.ready():
            return None
        line = self._lines[self._priorities[-1]]
        return self.take() if accepts(line.first()) else None

    def take(self) -> Entry | None:
        """Remove and return the next job that is due, or ``None``."""
        if not self.ready():
            return None
        line = self._lines[self._priorities[-1]]
        sid = line.take()
        self._note_taken(line)
        self._leave(sid, line)
        queue = DEFAULT_QUEUE
        if self._queues:
            queue = self._queues.get(sid, DEFAULT_QUEUE)
            if sid not in self._places:
                self._queues.pop(sid, None)
        return Entry(sid, line.priority, queue)

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

    def _note_queue(self, entry: Entry) -> tuple[str, int]:
        """Note the queue of a job; return its sid and priority."""
        sid, priority, queue = entry
        if queue != DEFAULT_QUEUE:
            self._queues[sid] = queue
        return sid, priority

    def _put_in_line(
        self, sid: str, priority: int, *, is_first: bool = False
    ) -> None:
        line = self._lines.get(priority)
        if line is None:
            line = self._lines[priority] = Line(priority)
        if not line:
            insort(self._priorities, priority)
        if is_first:
            line.add_first(sid)
        else:
            line.add(sid)
        self._due += 1
        self._enter(sid, line.as_place)

    def _note_taken(self, line: Line) -> None:
        """Count one job less in a line; it is gone from there."""
        self._due -= 1
        if not line:
            line.clear()
            priority = line.priority
            del self._priorities[bisect_left(self._priorities, priority)]
            if len(self._lines) > MOST_LINES:
                del self._lines[priority]

    def _next_number(self, sid: str) -> int:
        """Return the number of a wait of a job for its time."""
        number = next(self._numbers)
        self._later += 1
        self._enter(sid, (number,))
        return number

    def _note_due(self, heap: list[_Item], now: float) -> None:
        """Put the jobs of a heap in line whose time has come."""
        while (first := self._first(heap)) is not None and first <= now:
            _, number, sid, priority = heapq.heappop(heap)
            self._later -= 1
            self._leave(sid, number)
            self._put_in_line(sid, priority)

    def _first(self, heap: list[_Item]) -> float | None:
        """Return the first time in a heap, without those of old items."""
        while heap and not self._is_valid(heap[0]):
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def _is_valid(self, item: _Item) -> bool:
        _, number, sid, _ = item
        return number in self._places.get(sid, ())

    def _enter(self, sid: str, place: tuple[Line | int, ...]) -> None:
        self._places[sid] = self._places.get(sid, ()) + place

    def _leave(self, sid: str, place: Line | int) -> None:
        """Remove one place of a job."""
        places = self._places[sid]
        if len(places) == 1:
            del self._places[sid]
        else:
            index = places.index(place)
            self._places[sid] = places[:index] + places[index + 1 :]
