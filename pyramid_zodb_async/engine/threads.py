"""The engine ``threads``, which runs jobs on threads of this process."""

import contextlib
import contextvars
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from zope.interface import implementer

from ..concurrency.exits import call_at_exit, forget_at_exit
from ..concurrency.forks import call_after_fork
from ..concurrency.loggers import get_logger
from ..concurrency.threads import start_thread
from ..interfaces import IBatchEngine, IBatches
from .queue import Entry, JobQueue

__all__ = ["ThreadEngine"]

log = get_logger(__name__)


#: How many jobs one transaction may have.
MOST_IN_BATCH = 50

#: How many of them a thread takes if so many wait, whatever the others do:
#: they are short, and a commit takes longer than some of them.
FEW_IN_BATCH = 10


@implementer(IBatchEngine)
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
        self._batches: IBatches | None = None
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
        self._running: dict[threading.Thread, list[str]] = {}
        self._stopping = False
        self._stops_at_exit = False

    def use_batches(self, batches: IBatches) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IBatchEngine`."""
        self._batches = batches

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
            running = sum(map(len, self._running.values()))
        # whoever presses Ctrl-C again wants no more of the wait, and no
        # traceback of it
        with contextlib.suppress(KeyboardInterrupt):
            if running:
                _tell_of_wait(running, grace)
            for thread in threads:
                thread.join(max(0, deadline - time.monotonic()))
        with self._condition:
            unfinished = [
                sid for sids in self._running.values() for sid in sids
            ]
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
            while (entries := self._take(thread)) is not None:
                if len(entries) == 1:
                    self._run_one(entries[0], thread)
                else:
                    self._run_batch(entries, thread)
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

    def _run_batch(
        self, entries: list[Entry], thread: threading.Thread
    ) -> None:
        """Run several jobs, and put back those that are to be run again."""
        batches: Any = self._batches
        by_sid = {entry.sid: entry for entry in entries}
        again: Sequence[tuple[str, float]] = ()
        try:
            again = contextvars.Context().run(batches.run, list(by_sid))
        except BaseException:
            log.critical(
                "The runner raised over a batch of %d jobs, which will not"
                " end: %s.",
                len(by_sid),
                ", ".join(by_sid),
                exc_info=True,
                extra={"action": "runner_raised"},
            )
        with self._condition:
            del self._running[thread]
            self._job_over.notify_all()
            # from the last, as each comes before those that wait
            for sid, delay in reversed(again):
                if delay:
                    self._queue.rest(by_sid[sid], delay)
                else:
                    self._queue.put_back(by_sid[sid])
                self._condition.notify()
            self._start_threads()

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

    def _take(self, thread: threading.Thread) -> list[Entry] | None:
        """Wait for a job that is due, and return it; ``None`` to end.

        There may be others with it, to be run in one transaction.
        """
        with self._condition:
            while not self._stopping:
                entry = self._queue.take()
                if entry is not None:
                    # under the lock in which it was taken from the queue, so
                    # that idle() and stop() do not miss it
                    entries = [entry, *self._take_more(entry)]
                    self._running[thread] = [entry.sid for entry in entries]
                    # there may have been one thread to wait for several jobs
                    # that have become due together
                    self._start_threads()
                    return entries
                self._condition.wait(self._queue.pause())
            return None

    def _take_more(self, first: Entry) -> list[Entry]:
        """Take jobs that may be run together with one, if there are many.

        To be called within the lock.
        """
        batches: Any = self._batches
        if batches is None or not batches.may_batch(first.sid):
            return []
        waiting = self._queue.ready()
        more: list[Entry] = []
        if waiting < self.workers:
            return []  # each of them has a thread soon
        share = max(waiting // self.workers, FEW_IN_BATCH - 1)
        while len(more) < min(share, MOST_IN_BATCH - 1):
            entry = self._queue.take_if(batches.may_batch)
            if entry is None:
                break
            more.append(entry)
        return more

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
