"""Runs jobs on a bounded number of threads of this process."""

import atexit
import contextvars
import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable

from zope.interface import implementer

from ..forking import call_after_fork
from ..interfaces import IEngine

__all__ = ["ThreadEngine"]

log = logging.getLogger(__name__)


@implementer(IEngine)
class ThreadEngine:
    """An engine of up to *workers* daemon threads.

    The first jobs start the threads. At the end of the interpreter, running
    jobs get *grace* to end.

    Args:
        run: runs the job of a sid; gives the seconds after which to run it
            again, or ``None``.
        workers: how many jobs run at a time.
        grace: how long :meth:`stop` waits for running jobs, in seconds.
    """

    def __init__(
        self,
        run: Callable[[str], float | None],
        *,
        workers: int = 2,
        grace: float = 10,
    ) -> None:
        self.workers = workers
        self.grace = grace
        self._run = run
        self._begin()
        call_after_fork(self._begin)

    def _begin(self) -> None:
        """Know of no job and no thread; in a child they are the parent's."""
        lock = threading.Lock()
        self._condition = threading.Condition(lock)
        self._job_over = threading.Condition(lock)
        self._queue: list[tuple[float, int, str]] = []
        self._numbers = itertools.count()
        self._threads: list[threading.Thread] = []
        self._running: dict[threading.Thread, str] = {}
        self._stopping = False
        self._stops_at_exit = False

    def submit(self, sids: Iterable[str]) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IEngine`."""
        with self._condition:
            for sid in sids:
                self._put(sid, due=time.monotonic())
            self._start_threads()

    def withdraw(self, sid: str) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IEngine`."""
        with self._condition:
            self._queue = [entry for entry in self._queue if entry[2] != sid]
            heapq.heapify(self._queue)

    def start(self) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IEngine`."""
        with self._condition:
            self._stopping = False
            self._stop_at_exit()
            self._start_threads()

    def stop(self, grace: float | None = None) -> list[str]:
        """See :class:`~pyramid_zodb_async.interfaces.IEngine`.

        What waits is kept, for another :meth:`start`.
        """
        deadline = time.monotonic() + (self.grace if grace is None else grace)
        atexit.unregister(self.stop)
        with self._condition:
            self._stops_at_exit = False
            self._stopping = True
            self._condition.notify_all()
            threads = list(self._threads)
            if self._running:
                log.info(
                    "Waiting for %d running jobs to end.",
                    len(self._running),
                    extra={"action": "engine_stopping"},
                )
        for thread in threads:
            thread.join(max(0, deadline - time.monotonic()))
        with self._condition:
            unfinished = list(self._running.values())
        if unfinished:
            log.warning(
                "The engine stopped with jobs that have not ended: %s.",
                ", ".join(unfinished),
                extra={"action": "engine_stopped"},
            )
        return unfinished

    def idle(self, timeout: float | None = None) -> bool:
        """See :class:`~pyramid_zodb_async.interfaces.IEngine`."""
        with self._condition:
            return self._job_over.wait_for(lambda: not self._running, timeout)

    def _put(self, sid: str, due: float) -> None:
        heapq.heappush(self._queue, (due, next(self._numbers), sid))
        self._condition.notify()

    def _start_threads(self) -> None:
        """Have as many threads as there is work for."""
        if self._stopping:
            return
        busy = len(self._running)
        wanted = min(self.workers, busy + len(self._queue))
        while len(self._threads) < wanted:
            self._stop_at_exit()
            thread = threading.Thread(
                target=self._work,
                name=f"zodb_async-{len(self._threads) + 1}",
                daemon=True,
            )
            try:
                thread.start()
            except RuntimeError:
                log.exception(
                    "A worker thread cannot be started now;"
                    " the next job will try again.",
                    extra={"action": "worker_not_started"},
                )
                break
            self._threads.append(thread)

    def _stop_at_exit(self) -> None:
        if not self._stops_at_exit:
            self._stops_at_exit = True
            atexit.register(self.stop)

    def _work(self) -> None:
        thread = threading.current_thread()
        while (sid := self._take(thread)) is not None:
            try:
                # of its own, so that no job sees what another left in it
                again = contextvars.Context().run(self._run, sid)
            except BaseException:
                log.critical(
                    "The runner raised over job %s, which will not end.",
                    sid,
                    exc_info=True,
                    extra={"action": "runner_raised", "sid": sid},
                )
                again = None
            with self._condition:
                del self._running[thread]
                self._job_over.notify_all()
                if again is not None:
                    self._put(sid, due=time.monotonic() + again)

    def _take(self, thread: threading.Thread) -> str | None:
        """Wait for a job that is due; ``None`` if the engine stops."""
        with self._condition:
            while not self._stopping:
                wait = None
                if self._queue:
                    due = self._queue[0][0]
                    wait = due - time.monotonic()
                    if wait <= 0:
                        sid = heapq.heappop(self._queue)[2]
                        self._running[thread] = sid
                        return sid
                self._condition.wait(wait)
            self._threads.remove(thread)
            return None
