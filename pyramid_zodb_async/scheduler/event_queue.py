"""The queue of events that subscribers get after the commit."""

from collections import deque
from collections.abc import Callable

from ..concurrency.queues import drained
from ..events import JobEvent
from ..execution.subscribers import Announcer
from ..jobs.model import JobView
from .transaction_changes import CertainChange, Changes

__all__ = ["EventQueue"]


class EventQueue:
    """The events of a scheduler that are not delivered yet.

    An event is delivered after the commit that made it true, when no lock is
    held and no transaction is open: a subscriber may do anything. The view of
    the job is made only if there is a subscriber for that kind of event.
    Threads may use a queue at the same time.

    Args:
        announcer: returns the announcer that calls the subscribers.
    """

    def __init__(self, announcer: Callable[[], Announcer]) -> None:
        self._announcer = announcer
        self._events: deque[tuple[type[JobEvent], JobView]] = deque()

    def has_subscribers(self, kind: type[JobEvent]) -> bool:
        """Return whether there are subscribers for events of *kind*.

        Args:
            kind: the class of the events.
        """
        return self._announcer().has_subscribers(kind)

    def add(self, kind: type[JobEvent], view: Callable[[], JobView]) -> None:
        """Add an event that is true, for the next :meth:`deliver`.

        Args:
            kind: the class of the event.
            view: makes the view of the job that the event is about.
        """
        if self.has_subscribers(kind):
            self._events.append((kind, view()))

    def add_on_commit(
        self,
        changes: Callable[[], Changes],
        kind: type[JobEvent],
        view: Callable[[], JobView],
    ) -> None:
        """Add an event if and when a transaction commits.

        Args:
            changes: returns the changes of that transaction; it is called
                only if there are subscribers.
            kind: the class of the event.
            view: makes the view of the job that the event is about.
        """
        if self.has_subscribers(kind):
            # The view is made now, while the transaction can load the record.
            changes().add(_Event(self._events, kind, view()))

    def deliver_now(self, kind: type[JobEvent], jobs: list[JobView]) -> None:
        """Deliver events that are true already.

        Args:
            kind: the class of the events.
            jobs: the views of the jobs, one for each event.
        """
        # behind what waits already, so that the order of events is right
        self._events.extend((kind, job) for job in jobs)
        self.deliver()

    def deliver(self) -> None:
        """Deliver all events. The caller must not hold a lock."""
        if not self._events:
            return
        announcer = self._announcer()
        for kind, job in drained(self._events):
            announcer.announce(kind, job)


class _Event(CertainChange):
    """An event that becomes true with the commit of a transaction."""

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
