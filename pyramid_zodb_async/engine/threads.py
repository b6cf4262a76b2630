"""Runs jobs on a bounded number of threads of this process."""

import atexit
import contextvars
import logging
import threading
import time
from collections.abc import Callable, Iterable

from zope.interface import implementer

from ..concurrency.forks import call_after_fork
from ..interfaces import IEngine
from .queue import Entry, JobQueue

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
        self._queue = JobQueue()
        self._threads: list[threading.Thread] = []
        self._running: dict[threading.Thread, str] = {}
        self._stopping = False
        self._stops_at_exit = False

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
                self._queue.put(Entry(sid, priority), due)
                self._condition.notify()
            self._start_threads()

    def withdraw(self, sid: str) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IEngine`."""
        with self._condition:
            self._queue.remove(sid)

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

    def _start_threads(self) -> None:
        """Have as many threads as there is work for."""
        if self._stopping:
            return
        ready = self._queue.ready()
        if not ready and len(self._queue):
            ready = 1  # to wait for what is due later
        wanted = min(self.workers, len(self._running) + ready)
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
        try:
            while (entry := self._take(thread)) is not None:
                self._run_one(entry, thread)
        finally:
            self._leave(thread)

    def _run_one(self, entry: Entry, thread: threading.Thread) -> None:
        try:
            # of its own, so that no job sees what another left in it
            again = contextvars.Context().run(self._run, entry.sid)
        except BaseException:
            log.critical(
                "The runner raised over job %s, which will not end.",
                entry.sid,
                exc_info=True,
                extra={"action": "runner_raised", "sid": entry.sid},
            )
            again = None
        with self._condition:
            del self._running[thread]
            self._job_over.notify_all()
            if again is not None:
                self._queue.rest(entry, again)
                self._condition.notify()

    def _take(self, thread: threading.Thread) -> Entry | None:
        """Wait for a job that is due; ``None`` if the engine stops."""
        with self._condition:
            while not self._stopping:
                entry = self._queue.take()
                if entry is not None:
                    self._running[thread] = entry.sid
                    self._start_threads()  # more may have become due
                    return entry
                self._condition.wait(self._queue.pause())
            return None

    def _leave(self, thread: threading.Thread) -> None:
        """Have another thread in place of one that ends, if need be."""
        with self._condition:
            self._threads.remove(thread)
            self._running.pop(thread, None)
            self._job_over.notify_all()
            if not self._stopping:
                log.critical(
                    "Something has ended the worker thread %s; another one"
                    " takes its place.",
                    thread.name,
                    extra={"action": "worker_replaced"},
                )
                self._start_threads()
