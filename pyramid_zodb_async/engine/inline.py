"""The engine ``inline``, whose commits return after the jobs have run."""

import contextvars
import threading
from collections import deque
from collections.abc import Callable, Iterable

from zope.interface import implementer

from ..concurrency.queues import drained
from ..concurrency.threads import start_thread
from ..interfaces import IEngine

__all__ = ["InlineEngine"]


@implementer(IEngine)
class InlineEngine:
    """An engine for tests and scripts: a commit returns after its jobs.

    Jobs run on a thread of their own nevertheless. The committing thread is
    at the end of its transaction, and a job with the same transaction manager
    would abort what that has not finished. What a job schedules is run on the
    job's thread when the job has ended. Jobs that are due later are run at
    once.

    Args:
        run: runs the job with a sid; returns the seconds after which to run
            it again, or ``None``. It does not raise.
    """

    workers = None

    def __init__(self, run: Callable[[str], float | None]) -> None:
        self._run = run
        self._stopped = threading.Event()
        #: The sids that a stop, or a thread that could not start, has left.
        self._left_over: deque[str] = deque()
        self._of_thread = threading.local()
        #: How many threads of its own there are, which run jobs.
        self._threads = 0
        self._thread_over = threading.Condition()

    def submit(
        self,
        sids: Iterable[str],
        *,
        due: float | None = None,
        priority: int = 0,
    ) -> None:
        """Run the jobs at once, also those that are due later, and wait.

        See :class:`~pyramid_zodb_async.interfaces.IEngine`.
        """
        queue: deque[str] | None = getattr(self._of_thread, "queue", None)
        if queue is not None:
            # a job's thread: to wait here would be to wait for itself, in the
            # middle of the job's commit; _work() runs them next
            queue.extend(sids)
            return
        queue = deque([*drained(self._left_over), *sids])
        if not queue:
            return
        with self._thread_over:
            self._threads += 1
        thread = start_thread(
            "inline",
            self._work,
            (queue,),
            action="worker_not_started",
            missing="A thread for jobs cannot be started now; the next commit"
            " with a job will try again.",
        )
        if thread is None:
            self._left_over.extend(queue)
            self._note_end()
        else:
            thread.join()

    def _work(self, queue: deque[str]) -> None:
        """Run the jobs of a queue and what they submit, in that order."""
        self._of_thread.queue = queue
        try:
            while queue and not self._stopped.is_set():
                self._run_to_its_end(queue.popleft())
        finally:
            self._left_over.extend(queue)
            self._note_end()

    def _note_end(self) -> None:
        """Note that a thread runs no more jobs."""
        with self._thread_over:
            self._threads -= 1
            self._thread_over.notify_all()

    def _run_to_its_end(self, sid: str) -> None:
        """Run a job, and repeat it after the pauses that the runner wants."""
        delay: float | None = 0
        while delay is not None and not self._stopped.wait(delay):
            # in a new context, so that no job sees the context variables that
            # another has set
            delay = contextvars.Context().run(self._run, sid)
        if delay is not None:
            self._left_over.append(sid)

    def withdraw(self, sid: str) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IEngine`."""
        # nothing to do: the runner claims a job before each run, and gets
        # none for a sid that is not to be run any more

    def start(self) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IEngine`."""
        self._stopped.clear()
        self.submit([])

    def idle(self, timeout: float | None = None) -> bool:
        """See :class:`~pyramid_zodb_async.interfaces.IEngine`."""
        # submit() returns when its jobs have ended, but another thread may
        # have called it; a job, which may call this, does not wait for itself
        own = int(hasattr(self._of_thread, "queue"))
        with self._thread_over:
            return self._thread_over.wait_for(
                lambda: self._threads == own, timeout
            )

    def stop(self, grace: float | None = None) -> list[str]:
        """See :class:`~pyramid_zodb_async.interfaces.IEngine`."""
        self._stopped.set()
        return []
