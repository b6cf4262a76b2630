"""The engine of jobs that workers run, in workers and other processes."""

import contextvars
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from zope.interface import implementer

from ...concurrency.moments import EndOfPause
from ...interfaces import IRemoteEngine
from ...settings import Settings
from ..threads import ThreadEngine
from .messages import Message
from .publisher import Publisher

__all__ = ["FOR_WORKER", "RemoteEngine"]

#: How often it is checked whether a suspect that waits for another one is
#: still to be run, in seconds between the checks.
TURN_CHECK_INTERVAL = 0.5

#: Whether the application that is being made is that of a worker. A context
#: variable brings this to the engine, since the function of the application's
#: author that makes the application has no argument for it.
FOR_WORKER: contextvars.ContextVar[bool] = contextvars.ContextVar(
    "for_worker", default=False
)


@implementer(IRemoteEngine)
class RemoteEngine:
    """The engine of a process that sends messages to workers, or of a worker.

    A process that serves requests may also run the jobs of some queues on
    threads of its own. Workers leave the jobs of these queues to such
    processes.

    Args:
        run: runs the job with a sid; returns the seconds after which to run
            it again, or ``None``. It does not raise.
        settings: the settings of the application.
        publish: sends a message; raises if the broker may not have it.
        close: closes the connection to the broker.
        count: returns the number of messages that wait in a queue of the
            broker; raises if that cannot be found out.
    """

    def __init__(
        self,
        run: Callable[[str], float | None],
        settings: Settings,
        publish: Callable[[Message], None],
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
        #: By sid, whether the scheduler has submitted a job that this worker
        #: has claimed. The thread that has claimed it and the scheduler may
        #: come here in either order.
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
        serial: bytes | None = None,
    ) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IRemoteEngine`."""
        self.publisher.put(Message(sid, priority, queue, serial), due)

    def send_all(
        self,
        sids: Sequence[str],
        *,
        queue: str,
        priority: int = 0,
        serial: bytes | None = None,
    ) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IRemoteEngine`."""
        self.publisher.put_batch(
            sids, queue=queue, priority=priority, serial=serial
        )

    def count(self, queue: str, callback: Callable[[int], None]) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IRemoteEngine`."""
        self.publisher.count(queue, callback)

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

        In a worker, this runs nothing: the thread that has claimed such a
        job waits for this in :meth:`run_in_turn`, and runs the job.
        """
        if self._threads is not None:
            self._threads.submit(sids, due=due, priority=priority)
        else:
            for sid in sids:
                self._turn(sid).set()

    def _turn(self, sid: str) -> threading.Event:
        """Return the event of a job, which is new if there is none."""
        with self._lock:
            return self._turns.setdefault(sid, threading.Event())

    def run_in_turn(self, sid: str, is_assigned: Callable[[], bool]) -> None:
        """Run a job that this worker has claimed, on this thread.

        A suspect first waits until no other suspect runs in this process.

        Args:
            sid: the sid of the job.
            is_assigned: returns whether the job is still this worker's.
        """
        turn = self._turn(sid)
        # nothing is submitted for a job that is cancelled, or taken over,
        # while it waits: so it is checked from time to time
        while not turn.wait(TURN_CHECK_INTERVAL):
            if not is_assigned():
                break
        # before the run: a later attempt of the job may be claimed by another
        # thread of this worker before this call returns, and has its own turn
        with self._lock:
            del self._turns[sid]
        delay = 0.0 if turn.is_set() else None
        while delay is not None:
            # the thread waits with the job, and its message stays with this
            # worker; delays are short, as they follow conflicts and outages
            time.sleep(delay)
            # in a new context, so that no job sees the context variables that
            # another has set
            delay = contextvars.Context().run(self._run, sid)

    def offer(self, message: Message, seconds: float) -> None:
        """Send a message for a job of this worker, unless it is taken back.

        Args:
            message: the message.
            seconds: how long to wait before that.
        """
        self.publisher.put(message, EndOfPause.after(seconds))

    def take_back(self, sid: str) -> bool:
        """Send no message for a job that was offered to other workers.

        Args:
            sid: the sid of the job.

        Returns:
            Whether there was still time. If not, the job is left to them.
        """
        return self.publisher.take_back(sid)

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

        The jobs that a worker has claimed are not waited for here: Celery
        waits for the tasks that run them.
        """
        # the threads first: their jobs may schedule others, for which the
        # publisher has messages to send
        left = [] if self._threads is None else self._threads.stop(grace)
        self.publisher.stop()
        return left
