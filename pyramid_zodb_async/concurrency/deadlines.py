"""A collection of items with deadlines, which finds the earliest one."""

import heapq
import itertools
from typing import Generic, TypeVar

__all__ = ["Deadlines"]

T = TypeVar("T")

#: How many outdated entries the heap may have, besides as many as there are
#: items, before they are removed.
MOST_OLD = 100


class Deadlines(Generic[T]):
    """Items, each with a time, of which the earliest is found quickly.

    Adding, changing or removing an item costs hardly more when there are
    many. It is not thread-safe: the caller holds a lock. Times are numbers
    of seconds of any one clock, which the caller chooses.
    """

    def __init__(self) -> None:
        self._times: dict[T, float] = {}
        # An entry stays in the heap when its item is changed or removed, as
        # to remove one from the middle would be slow. It is valid if it has
        # the time that _times has for its item.
        self._heap: list[tuple[float, int, T]] = []
        # Entries of the same time are compared by these numbers: items need
        # not be comparable.
        self._numbers = itertools.count()

    def __contains__(self, thing: object) -> bool:
        return thing in self._times

    def get(self, thing: T, default: float) -> float:
        """Return the time of an item.

        Args:
            thing: the item.
            default: what to return if it is not there.
        """
        return self._times.get(thing, default)

    def set(self, thing: T, when: float) -> None:
        """Add an item, or change its time.

        Args:
            thing: the item, which is hashable.
            when: its new time, in place of an earlier one.
        """
        self._times[thing] = when
        heapq.heappush(self._heap, (when, next(self._numbers), thing))
        if len(self._heap) > 2 * len(self._times) + MOST_OLD:
            self._heap = [item for item in self._heap if self._is_valid(item)]
            heapq.heapify(self._heap)

    def discard(self, thing: T) -> None:
        """Remove an item if it is there.

        Args:
            thing: the item.
        """
        self._times.pop(thing, None)

    def first(self) -> float | None:
        """Return the earliest time, or ``None`` if there are no items."""
        while self._heap and not self._is_valid(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop(self, now: float) -> T | None:
        """Remove and return the item with the earliest time, if it is due.

        Args:
            now: the current time, by the clock of the items' times.

        Returns:
            The item, or ``None`` if no item's time has come.
        """
        first = self.first()
        if first is None or first > now:
            return None
        _, _, thing = heapq.heappop(self._heap)
        del self._times[thing]
        return thing

    def _is_valid(self, item: tuple[float, int, T]) -> bool:
        when, _, thing = item
        return self._times.get(thing) == when
