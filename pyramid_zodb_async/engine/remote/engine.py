"""Leaves jobs to processes that are sent word of them, or is one of those."""

import contextvars
import threading
import time
from collections.abc import Callable, Iterable

from zope.interface import implementer

from ...interfaces import IRemoteEngine
from ...settings import Settings
from ..queue import Entry
from ..threads import ThreadEngine
from .publisher import Publisher

__all__ = ["FOR_WORKER", "RemoteEngine"]

#: The time between two looks whether a job that waits for its turn is to be
#: run at all, in seconds.
TURN_LOOK = 0.5

#: Whether an application is being made for a worker.
FOR_WORKER: contextvars.ContextVar[bool] = contextvars.ContextVar(
    "for_worker", default=False
)


@implementer(IRemoteEngine)
class RemoteEngine:
    """Sends word of jobs to workers, or is the engine of one.

    In a process that serves it also runs the jobs of some queues itself. In
    a worker, those are left to processes that serve.

    Args:
        run: runs the job of a sid; gives the seconds after which to run it
            again, or ``None``.
        settings: those of the application.
        publish: sends a message; raises if that is not certain.
        close: lets go of what that needs.
        count: counts the messages that wait in a queue; raises if it cannot.
    """

    def __init__(
        self,
        run: Callable[[str], float | None],
        settings: Settings,
        publish: Callable[[Entry], None],
        close: Callable[[], None],
        count: Callable[[str], int],
    ) -> None:
        self.is_worker = FOR_WORKER.get()
        self._run = run
        self._queues = frozenset(settings.queues)
        self._threads: ThreadEngine | None = None
        self.workers: int | None = None
        if self._queues and not self.is_worker:
            self.workers = settings.workers
            self._threads = ThreadEngine(
                run, workers=settings.workers, grace=settings.grace
            )
        self.publisher = Publisher(publish, close, count)
        self._lock = threading.Lock()
        #: By sid, whether it is the turn of a job that was taken.
        self._turns: dict[str, threading.Event] = {}

    def runs(self, queue: str) -> bool:
        """See :class:`~pyramid_zodb_async.interfaces.IRemoteEngine`."""
        return self._threads is not None and queue in self._queues

    def sends(self, queue: str) -> bool:
        """See :class:`~pyramid_zodb_async.interfaces.IRemoteEngine`."""
        return queue not in self._queues

    def send(
        self,
        sid: str,
        *,
        queue: str,
        due: float | None = None,
        priority: int = 0,
    ) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IRemoteEngine`."""
        self.publisher.put(Entry(sid, priority, queue), due)

    def count(self, queue: str, tell: Callable[[int], None]) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IRemoteEngine`."""
        self.publisher.count(queue, tell)

    def unsent(self) -> int:
        """See :class:`~pyramid_zodb_async.interfaces.IRemoteEngine`."""
        return len(self.publisher)

    def submit(
        self,
        sids: Iterable[str],
        *,
        due: float | None = None,
        priority: int = 0,
    ) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IEngine`.

        In a worker, it is their turn: whoever has taken them waits for it.
        """
        if self._threads is not None:
            self._threads.submit(sids, due=due, priority=priority)
        else:
            for sid in sids:
                self._turn(sid).set()

    def _turn(self, sid: str) -> threading.Event:
        with self._lock:
            return self._turns.setdefault(sid, threading.Event())

    def run_in_turn(self, sid: str, is_held: Callable[[], bool]) -> None:
        """Run a job that this worker has taken, here and now.

        Jobs that may end their process wait for each other.

        Args:
            sid: the id of the job.
            is_held: whether it is still this worker's.
        """
        turn = self._turn(sid)
        while not turn.wait(TURN_LOOK):
            if not is_held():
                break
        with self._lock:
            del self._turns[sid]
        delay = 0.0 if turn.is_set() else None
        while delay is not None:
            time.sleep(delay)
            # of its own, so that no job sees what another left in it
            delay = contextvars.Context().run(self._run, sid)

    def withdraw(self, sid: str) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IEngine`."""
        self.publisher.withdraw(sid)

    def start(self) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IEngine`."""
        if self._threads is not None:
            self._threads.start()

    def idle(self, timeout: float | None = None) -> bool:
        """See :class:`~pyramid_zodb_async.interfaces.IEngine`."""
        return self._threads is None or self._threads.idle(timeout)

    def stop(self, grace: float | None = None) -> list[str]:
        """See :class:`~pyramid_zodb_async.interfaces.IEngine`.

        What was taken for a message is waited for by whoever got that.
        """
        left = [] if self._threads is None else self._threads.stop(grace)
        self.publisher.stop()
        return left
