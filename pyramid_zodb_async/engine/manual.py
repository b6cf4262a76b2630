"""Runs a job when a test says so, and none else."""

import contextvars
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from zope.interface import implementer

from ..interfaces import IEngine

__all__ = ["ManualEngine", "StartedRun", "WaitingJob"]

log = logging.getLogger(__name__)

#: How long a stop waits for running jobs unless it is told, in seconds.
GRACE = 10.0


class WaitingJob(NamedTuple):
    """A job that was submitted and has not been run."""

    sid: str
    #: Counts what was submitted.
    number: int
    #: When it is to be run, in seconds since the epoch; ``None``: at once.
    due: float | None
    #: The greater goes first, of those that are due.
    priority: int

    def pause(self, now: float) -> float:
        """Tell how long it is to wait from *now* on, in seconds."""
        return 0 if self.due is None else max(0, self.due - now)


class StartedRun:
    """A run that a test has started."""

    def __init__(self, sid: str, thread: threading.Thread) -> None:
        #: The id of the job.
        self.sid = sid
        self._thread = thread

    def wait(self, timeout: float) -> bool:
        """Wait for its end; whether that came to pass in *timeout* s."""
        self._thread.join(timeout)
        return not self._thread.is_alive()


@implementer(IEngine)
class ManualEngine:
    """An engine for tests: jobs wait until :meth:`begin` is called.

    Each run has a thread of its own, as a job has in production: one that
    ran on the test's thread would use the test's transaction.

    Args:
        run: runs the job of a sid; gives the seconds after which to run it
            again, or ``None``.
    """

    workers = None

    def __init__(self, run: Callable[[str], float | None]) -> None:
        self._run = run
        self._condition = threading.Condition()
        self._numbers = itertools.count()
        self._waiting: list[WaitingJob] = []
        self._running: list[str] = []
        #: Whether it was stopped, and not started again.
        self.is_stopped = False

    def submit(
        self,
        sids: Iterable[str],
        *,
        due: float | None = None,
        priority: int = 0,
    ) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IEngine`."""
        with self._condition:
            for sid in sids:
                self._waiting.append(
                    WaitingJob(sid, next(self._numbers), due, priority)
                )
            self._condition.notify_all()

    def withdraw(self, sid: str) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IEngine`."""
        with self._condition:
            self._waiting = [job for job in self._waiting if job.sid != sid]

    def waiting(self) -> list[WaitingJob]:
        """List what waits, in the order in which it is to be run."""
        now = time.time()
        with self._condition:
            return sorted(
                self._waiting,
                key=lambda job: (job.pause(now), -job.priority, job.number),
            )

    def wait_for_more(self, timeout: float) -> None:
        """Wait until something happens, for *timeout* s at most."""
        with self._condition:
            self._condition.wait(timeout)

    def begin(self, waiting: WaitingJob) -> StartedRun:
        """Run a job that waits, on a thread of its own.

        Raises:
            LookupError: it does not wait any more.
        """
        with self._condition:
            if waiting not in self._waiting:
                raise LookupError(f"The job {waiting.sid} does not wait")
            self._waiting.remove(waiting)
            self._running.append(waiting.sid)
        thread = threading.Thread(
            target=self._work,
            args=(waiting.sid,),
            name="zodb_async-manual",
            daemon=True,
        )
        thread.start()
        return StartedRun(waiting.sid, thread)

    def _work(self, sid: str) -> None:
        # a context of its own, so that no job sees what another left
        delay = contextvars.Context().run(self._run, sid)
        if delay is not None:
            self.submit([sid], due=time.time() + delay)
        with self._condition:
            self._running.remove(sid)
            self._condition.notify_all()

    def start(self) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IEngine`."""
        self.is_stopped = False

    def idle(self, timeout: float | None = None) -> bool:
        """See :class:`~pyramid_zodb_async.interfaces.IEngine`."""
        with self._condition:
            return self._condition.wait_for(lambda: not self._running, timeout)

    def stop(self, grace: float | None = None) -> list[str]:
        """See :class:`~pyramid_zodb_async.interfaces.IEngine`.

        What waits is kept, for another :meth:`start`.
        """
        self.is_stopped = True
        self.idle(GRACE if grace is None else grace)
        with self._condition:
            return list(self._running)
