"""The times at which the slices of old jobs are checked."""

import itertools
import time
from collections import deque
from collections.abc import Iterable, Iterator

from ...concurrency.deadlines import Deadlines
from ..records import Store
from ..slices import Slice

__all__ = ["SliceChecks"]

#: How many slices one transaction checks. Of each, some hundred objects are
#: loaded: a transaction must not take long, nor a check the time of a beat.
PORTION = 20


class SliceChecks:
    """Says which slices are to be checked, but for the newest.

    A slice that is not the newest gets no more jobs, except by transactions
    that have begun before. So it is checked at growing intervals: what these
    cost together hardly grows with the number of slices.

    Args:
        share: which part of the time for which a slice has not been the
            newest passes until it is checked again.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._due: Deadlines[int] = Deadlines()
        #: Since when a slice has not been the newest, at the latest, in
        #: seconds since the epoch.
        self._old_since: dict[int, float] = {}
        #: The slices that are due and not checked yet.
        self._to_check: deque[int] = deque()
        self._newest = -1
        self._last = 0.0

    def portion(self, store: Store) -> Iterator[tuple[int, Slice]]:
        """Return some of the slices that are to be checked now.

        A slice counts as checked when the next one is asked for, and leaves
        the memory of the connection then.

        Args:
            store: the store, as a transaction sees it.

        Returns:
            An iterator over numbers and slices, at most :data:`PORTION`.
        """
        now = time.time()
        if not self._to_check:
            self._learn(store, now)
            while (number := self._due.pop(now)) is not None:
                self._to_check.append(number)
        for _ in range(min(PORTION, len(self._to_check))):
            number = self._to_check[0]
            slice_ = store.slices.get(number)
            if slice_ is None:  # it was dropped
                self._old_since.pop(number, None)
            else:
                age = now - self._old_since[number]
                self._due.set(number, now + age * self._share)
                yield number, slice_
                slice_._p_deactivate()
                store._p_jar.cacheGC()
            self._to_check.popleft()

    def remain(self) -> bool:
        """Return whether slices are due that no portion had."""
        return bool(self._to_check)

    def check_at(self, number: int, when: float) -> None:
        """Have a slice checked at a time, if that comes earlier.

        Args:
            number: its number, which a portion had.
            when: the time, in seconds since the epoch.
        """
        self._due.set(number, min(when, self._due.get(number, when)))

    def check_soon(self, numbers: Iterable[int]) -> None:
        """Have slices checked next time, whenever that is.

        Args:
            numbers: their numbers. Those that are not known are left out, as
                they are checked next time in any case.
        """
        for number in numbers:
            if number in self._old_since:
                self._due.set(number, 0.0)

    def _learn(self, store: Store, now: float) -> None:
        """Note the slices that are not the newest any more.

        A number is that of an hour, or greater if that one was taken. So a
        slice was the newest until the hour of the next number, unless there
        were more in an hour.
        """
        newest = store.slices.maxKey()
        numbers = list(store.slices.keys(self._newest, newest))
        for number, following in itertools.pairwise(numbers):
            self._old_since[number] = min(now, following * 3600.0)
            self._due.set(number, 0.0)
        self._newest = newest
        if now < self._last:  # the clock was set back: no time is certain
            for number, since in self._old_since.items():
                self._old_since[number] = min(now, since)
                self._due.set(number, 0.0)
        self._last = now
