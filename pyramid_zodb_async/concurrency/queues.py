"""Takes the items from a queue that several threads fill and empty."""

from collections import deque
from collections.abc import Iterator
from typing import TypeVar

__all__ = ["drained"]

T = TypeVar("T")


def drained(queue: "deque[T]") -> Iterator[T]:
    """Remove the items of a queue, one after the other, until it is empty.

    Other threads may do the same at the same time: each item goes to one of
    them.

    Args:
        queue: the queue. What is added meanwhile is removed as well.

    Returns:
        An iterator over what this thread has removed.
    """
    while True:
        # to ask first whether there is an item would not do: another thread
        # may remove it in between
        try:
            item = queue.popleft()
        except IndexError:
            return
        yield item
