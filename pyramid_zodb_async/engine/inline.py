"""Runs each job right after the commit, and waits for it."""

import contextlib
import contextvars
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from zope.interface import implementer

from ..interfaces import IEngine

__all__ = ["InlineEngine"]

log = logging.getLogger(__name__)


@implementer(IEngine)
class InlineEngine:
    """An engine for tests and scripts: the commit returns after the job.

    The job runs on a thread of its own all the same: the committing thread
    is in the middle of its transaction's end, and a job with the same
    transaction manager would destroy what it still has open. What a job
    schedules runs on that thread too, when the job is over. It waits for no
    job's time.

    Args:
        run: runs the job of a sid; gives the seconds after which to run it
            again, or ``None``.
    """

    workers = None

    def __init__(self, run: Callable[[str], float | None]) -> None:
        self._run = run
        self._stopped = threading.Event()
        #: Submitted, but not run yet.
        self._left_over: deque[str] = deque()
        self._of_thread = threading.local()

    def submit(
        self,
        sids: Iterable[str],
        *,
        due: float | None = None,
        priority: int = 0,
    ) -> None:
        """Run the jobs at once, also those that are due later.

        See :class:`~pyramid_zodb_async.interfaces.IEngine`.
        """
        queue: deque[str] | None = getattr(self._of_thread, "queue", None)
        if queue is not None:  # a job has scheduled them
            queue.extend(sids)
            return
        queue = deque([*self._take_left_over(), *sids])
        thread = threading.Thread(
            target=self._work,
            args=(queue,),
            name="zodb_async-inline",
            daemon=True,
        )
        try:
            thread.start()
        except RuntimeError:
            log.exception(
                "A thread for jobs cannot be started now; the next commit"
                " with a job will try again.",
                extra={"action": "worker_not_started"},
            )
            self._left_over.extend(queue)
        else:
            thread.join()

    def _take_left_over(self) -> Iterator[str]:
        # other threads may do so at the same time
        with contextlib.suppress(IndexError):
            while True:
                yield self._left_over.popleft()

    def _work(self, queue: deque[str]) -> None:
        self._of_thread.queue = queue
        while queue and not self._stopped.is_set():
            self._run_to_its_end(queue.popleft())
        self._left_over.extend(queue)

    def _run_to_its_end(self, sid: str) -> None:
        delay: float | None = 0
        while delay is not None and not self._stopped.wait(delay):
            # a context of its own, so that no job sees what another left
            delay = contextvars.Context().run(self._run, sid)
        if delay is not None:
            self._left_over.append(sid)

    def withdraw(self, sid: str) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IEngine`."""
        # it is asked for its job before it runs

    def start(self) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IEngine`."""
        self._stopped.clear()
        if self._left_over:
            self.submit([])

    def idle(self, timeout: float | None = None) -> bool:
        """See :class:`~pyramid_zodb_async.interfaces.IEngine`."""
        return True  # whoever submits waits for the end

    def stop(self, grace: float | None = None) -> list[str]:
        """See :class:`~pyramid_zodb_async.interfaces.IEngine`."""
        self._stopped.set()
        return []
