"""Things by the time at which something is to happen to them."""

import heapq
import itertools
from typing import Generic, TypeVar

__all__ = ["Deadlines"]

T = TypeVar("T")

#: How many old entries may stay, besides as many as there are things.
MOST_OLD = 100


class Deadlines(Generic[T]):
    """Things and their times, the first of which is found at once.

    To add, change or remove one costs hardly more when there are many. It is
    for one thread at a time.
    """

    def __init__(self) -> None:
        self._times: dict[T, float] = {}
        self._heap: list[tuple[float, int, T]] = []
        self._numbers = itertools.count()

    def __contains__(self, thing: object) -> bool:
        return thing in self._times

    def set(self, thing: T, when: float) -> None:
        """Have a thing's time at *when*, and at no other."""
        self._times[thing] = when
        heapq.heappush(self._heap, (when, next(self._numbers), thing))
        if len(self._heap) > 2 * len(self._times) + MOST_OLD:
            self._heap = [item for item in self._heap if self._is_valid(item)]
            heapq.heapify(self._heap)

    def discard(self, thing: T) -> None:
        """Forget a thing, if it is there."""
        self._times.pop(thing, None)

    def first(self) -> float | None:
        """Give the first time, or ``None`` if there are no things."""
        while self._heap and not self._is_valid(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop(self, now: float) -> T | None:
        """Remove and give the thing with the first time, if that is past."""
        first = self.first()
        if first is None or first > now:
            return None
        _, _, thing = heapq.heappop(self._heap)
        del self._times[thing]
        return thing

    def _is_valid(self, item: tuple[float, int, T]) -> bool:
        when, _, thing = item
        return self._times.get(thing) == when
