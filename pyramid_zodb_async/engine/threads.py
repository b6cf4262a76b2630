"""The engine ``threads``, which runs jobs on threads of this process."""

import contextlib
import contextvars
import signal
import threading
import time
from collections.abc import Callable, Iterable

from zope.interface import implementer

from ..concurrency.exits import call_at_exit, forget_at_exit
from ..concurrency.forks import call_after_fork
from ..concurrency.loggers import get_logger
from ..concurrency.threads import start_thread
from ..interfaces import IEngine
from .queue import Entry, JobQueue

__all__ = ["ThreadEngine"]

log = get_logger(__name__)


@implementer(IEngine)
class ThreadEngine:
    """An engine of up to *workers* daemon threads.

    The threads are started when there are jobs for them. At the end of the
    interpreter, :meth:`stop` is called.

    Args:
        run: runs the job with a sid; returns the seconds after which to run
            it again, or ``None``. It does not raise.
        workers: how many jobs may run at a time.
        grace: how long :meth:`stop` waits for running jobs unless its caller
            says, in seconds.
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
        """Start with no jobs and no threads.

        Called again in a forked child: there the threads do not run, the lock
        may be locked for ever, and the jobs are run by the parent.
        """
        # one lock for both, since what is running and what waits change
        # together; with one condition, a job for one worker could wake those
        # that wait for the end of jobs instead
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
                # also if it is due later: a thread that waits for a job that
                # is due after this one has to wait for a shorter time
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

        What waits remains in the queue, for another :meth:`start`.
        """
        grace = self.grace if grace is None else grace
        deadline = time.monotonic() + grace
        # so that a stopped engine is not stopped again, and can be collected
        forget_at_exit(self.stop)
        with self._condition:
            self._stops_at_exit = False
            self._stopping = True
            self._condition.notify_all()
            # a copy: a thread that ends removes itself, for which it needs
            # the lock, so the joins are outside of it
            threads = list(self._threads)
            running = len(self._running)
        # whoever presses Ctrl-C again wants no more of the wait, and no
        # traceback of it
        with contextlib.suppress(KeyboardInterrupt):
            if running:
                _tell_of_wait(running, grace)
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
        """Start threads until there is one for each job that can run.

        To be called within the lock.
        """
        if self._stopping:
            return
        ready = self._queue.ready()
        if not ready and len(self._queue):
            ready = 1  # one thread waits until the next job is due
        wanted = min(self.workers, len(self._running) + ready)
        while len(self._threads) < wanted:
            self._stop_at_exit()
            thread = start_thread(
                str(len(self._threads) + 1),
                self._work,
                action="worker_not_started",
                missing="A worker thread cannot be started now;"
                " the next job will try again.",
            )
            if thread is None:
                break
            self._threads.append(thread)

    def _stop_at_exit(self) -> None:
        """Have the engine stopped at the end of the interpreter, once."""
        if not self._stops_at_exit:
            self._stops_at_exit = True
            call_at_exit(self.stop)

    def _work(self) -> None:
        """Run jobs until the engine stops; the work of one thread."""
        thread = threading.current_thread()
        try:
            while (entry := self._take(thread)) is not None:
                self._run_one(entry, thread)
        finally:
            self._leave(thread)

    def _run_one(self, entry: Entry, thread: threading.Thread) -> None:
        """Run a job once, and put it back if it is to be run again."""
        try:
            # in a new context, so that no job sees the context variables that
            # another has set
            delay = contextvars.Context().run(self._run, entry.sid)
        except BaseException:
            self._note_end(thread, entry, None)
            log.critical(
                "The runner raised over job %s, which will not end.",
                entry.sid,
                exc_info=True,
                extra={"action": "runner_raised", "sid": entry.sid},
            )
        else:
            self._note_end(thread, entry, delay)

    def _note_end(
        self, thread: threading.Thread, entry: Entry, delay: float | None
    ) -> None:
        """Note that a job does not run any more, or waits to run again."""
        with self._condition:
            # under one lock, so that nothing finds the job neither running
            # nor waiting
            del self._running[thread]
            self._job_over.notify_all()
            if delay is not None:
                self._queue.rest(entry, delay)
                self._condition.notify()

    def _take(self, thread: threading.Thread) -> Entry | None:
        """Wait for a job that is due, and return it; ``None`` to end."""
        with self._condition:
            while not self._stopping:
                entry = self._queue.take()
                if entry is not None:
                    # under the lock in which it was taken from the queue, so
                    # that idle() and stop() do not miss it
                    self._running[thread] = entry.sid
                    # there may have been one thread to wait for several jobs
                    # that have become due together
                    self._start_threads()
                    return entry
                self._condition.wait(self._queue.pause())
            return None

    def _leave(self, thread: threading.Thread) -> None:
        """Remove a thread that ends; replace it unless the engine stops."""
        with self._condition:
            self._threads.remove(thread)
            self._running.pop(thread, None)
            self._job_over.notify_all()
            if self._stopping:
                return
            self._start_threads()
        log.critical(
            "Something has ended the worker thread %s; another one takes its"
            " place.",
            thread.name,
            extra={"action": "worker_replaced"},
        )


def _tell_of_wait(running: int, grace: float) -> None:
    """Log for how long and for how many jobs the process waits.

    And how to end that: a server has caught the first Ctrl-C, and this thread
    gets the next one, unless the server has changed what that does.
    """
    ends_by_ctrl_c = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    log.info(
        "Waiting up to %g s for %d running %s to end%s.",
        grace,
        running,
        "job" if running == 1 else "jobs",
        "; press Ctrl-C again to stop now" if ends_by_ctrl_c else "",
        extra={"action": "engine_stopping"},
    )
