"""The engine for tests, which runs a job when a test begins it."""

import contextvars
import itertools
import threading
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from zope.interface import implementer

from ..concurrency.moments import EndOfPause
from ..concurrency.threads import start_thread
from ..interfaces import IEngine

__all__ = ["ManualEngine", "StartedRun", "WaitingJob"]

#: How long a stop waits for running jobs unless its caller says, in seconds.
GRACE = 10.0


class WaitingJob(NamedTuple):
    """A job that was submitted, and whose run has not begun."""

    sid: str
    #: Its number among all that were submitted, the first of which is 0.
    number: int
    #: When it is to be run, in seconds since the epoch; ``None`` for at once.
    due: float | None
    #: Of the jobs that are due, one with a greater priority is run first.
    priority: int

    def pause(self, now: float) -> float:
        """Return how long the job is to wait, in seconds.

        Args:
            now: the current time, in seconds since the epoch.
        """
        if self.due is None:
            return 0
        left = float(self.due) - now
        if isinstance(self.due, EndOfPause):
            left = min(left, self.due.counted - time.monotonic())
        return max(0, left)


class StartedRun:
    """A run that a test has begun.

    Args:
        sid: the sid of the job.
        thread: the thread of the run.
    """

    def __init__(self, sid: str, thread: threading.Thread) -> None:
        #: The sid of the job.
        self.sid = sid
        self._thread = thread

    def wait(self, timeout: float) -> bool:
        """Wait for the end of the run.

        Args:
            timeout: how long to wait at most, in seconds.

        Returns:
            Whether the run has ended.
        """
        self._thread.join(timeout)
        return not self._thread.is_alive()


@implementer(IEngine)
class ManualEngine:
    """An engine for tests: each job waits until :meth:`begin` is called.

    Each run has a thread of its own, as it has one in production. On the
    thread of the test, a run would use the transaction of the test.

    Args:
        run: runs the job with a sid; returns the seconds after which to run
            it again, or ``None``. It does not raise.
    """

    workers = None

    def __init__(self, run: Callable[[str], float | None]) -> None:
        self._run = run
        self._condition = threading.Condition()
        self._numbers = itertools.count()
        self._waiting: list[WaitingJob] = []
        self._running: list[str] = []
        #: Whether the last call was :meth:`stop`, and not :meth:`start`.
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
        """Return the jobs that wait, in the order in which they are due.

        Those that are due already come first, in the order of their
        priorities and then of their submission.
        """
        now = time.time()
        with self._condition:
            return sorted(
                self._waiting,
                key=lambda job: (job.pause(now), -job.priority, job.number),
            )

    def wait_for_more(self, timeout: float) -> None:
        """Wait until a job is submitted or a run has ended.

        Args:
            timeout: how long to wait at most, in seconds.
        """
        with self._condition:
            self._condition.wait(timeout)

    def begin(self, waiting: WaitingJob) -> StartedRun:
        """Begin to run a job that waits, on a thread of its own.

        Args:
            waiting: the job, as :meth:`waiting` has returned it.

        Returns:
            The run, which may have ended already.

        Raises:
            LookupError: the job does not wait any more: it was begun, or
                withdrawn.
            RuntimeError: no thread can be started now; the job still waits.
        """
        with self._condition:
            if waiting not in self._waiting:
                raise LookupError(f"The job {waiting.sid} does not wait")
            # in the lock, which the end of the run needs as well; it comes
            # after the change below
            thread = start_thread(
                "manual",
                self._work,
                (waiting.sid,),
                action="worker_not_started",
                missing="A thread for a job cannot be started now; the job"
                " waits to be begun again.",
            )
            if thread is None:
                raise RuntimeError(
                    f"No thread can be started for the job {waiting.sid},"
                    " which still waits"
                )
            # under one lock, so that no other thread finds the job neither
            # waiting nor running
            self._waiting.remove(waiting)
            self._running.append(waiting.sid)
        return StartedRun(waiting.sid, thread)

    def _work(self, sid: str) -> None:
        """Run a job once, and have it wait again if it is to be repeated."""
        # in a new context, so that no job sees the context variables that
        # another has set
        delay = contextvars.Context().run(self._run, sid)
        if delay is not None:
            # before it counts as not running, so that it is always one of both
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

        What waits remains in the queue, for another :meth:`start`.
        """
        self.is_stopped = True
        self.idle(GRACE if grace is None else grace)
        with self._condition:
            return list(self._running)
