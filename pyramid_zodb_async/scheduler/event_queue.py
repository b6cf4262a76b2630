"""Holds what is to be told of jobs until it is true, and can be told."""

import contextlib
from collections import deque
from collections.abc import Callable

from ..events import JobEvent
from ..execution.announcer import Announcer
from ..jobs.model import JobView
from .transaction_changes import CertainChange, Changes

__all__ = ["EventQueue"]


class EventQueue:
    """Events that wait to be told.

    Threads may use it at the same time. Views are made only if somebody
    wants to know.

    Args:
        announcer: gives who tells of events.
    """

    def __init__(self, announcer: Callable[[], Announcer]) -> None:
        self._announcer = announcer
        self._events: deque[tuple[type[JobEvent], JobView]] = deque()

    def has_subscribers(self, kind: type[JobEvent]) -> bool:
        """Tell whether somebody wants to know of events of *kind*."""
        return self._announcer().has_subscribers(kind)

    def add(self, kind: type[JobEvent], view: Callable[[], JobView]) -> None:
        """Have an event told by the next :meth:`tell`."""
        if self.has_subscribers(kind):
            self._events.append((kind, view()))

    def add_on_commit(
        self,
        changes: Callable[[], Changes],
        kind: type[JobEvent],
        view: Callable[[], JobView],
    ) -> None:
        """Have an event told when the transaction of *changes* commits."""
        if self.has_subscribers(kind):
            changes().add(_Event(self._events, kind, view()))

    def deliver_now(self, kind: type[JobEvent], jobs: list[JobView]) -> None:
        """Tell at once of events that somebody wanted to know of."""
        self._events.extend((kind, job) for job in jobs)
        self.deliver()

    def deliver(self) -> None:
        """Tell of what has happened; no lock must be held."""
        if not self._events:
            return
        announcer = self._announcer()
        # other threads may do so at the same time
        with contextlib.suppress(IndexError):
            while True:
                announcer.announce(*self._events.popleft())


class _Event(CertainChange):
    """An event that is true with the commit."""

    def __init__(
        self,
        events: deque[tuple[type[JobEvent], JobView]],
        kind: type[JobEvent],
        job: JobView,
    ) -> None:
        self._events = events
        self._kind = kind
        self._job = job

    def apply(self) -> None:
        self._events.append((self._kind, self._job))
