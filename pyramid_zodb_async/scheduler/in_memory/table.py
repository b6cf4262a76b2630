"""The table of the jobs that a process has in memory, and their states."""

import contextlib
import copy
import datetime
import threading
import time
from collections.abc import Callable

from ...concurrency.deadlines import Deadlines
from ...concurrency.forks import call_after_fork
from ...jobs.model import Failure, JobState, Progress
from ...transfer.references import Dumped
from ..waiters import Waiters
from .job import Job, utc_now

__all__ = ["JobTable"]

#: How long somebody who cancels waits for a commit that is under way, in
#: seconds: it may turn out either way.
COMMIT_TIME = 5.0


class JobTable:
    """The jobs whose transactions have committed.

    Threads may use it at the same time. No operation costs much more when
    there are many jobs.

    Args:
        timeout: gives the seconds for which an outcome is kept.
        waiters: who waits for a job to change.
        on_expiry: called with a job whose outcome is forgotten in time; must
            not ask the table for anything.
    """

    def __init__(
        self,
        timeout: Callable[[], float],
        waiters: Waiters,
        on_expiry: Callable[[Job], None],
    ) -> None:
        self._timeout = timeout
        self._waiters = waiters
        self._on_expiry = on_expiry
        self._begin()
        call_after_fork(self._begin)

    def _begin(self) -> None:
        """Know of no job; in a child they are the parent's."""
        self._lock = threading.RLock()
        self._ended = threading.Condition(self._lock)
        self._jobs: dict[str, Job] = {}
        self._waiting: set[str] = set()
        self._unfinished: set[str] = set()
        #: When to forget which finished job, by the monotonic clock.
        self._expiring: Deadlines[str] = Deadlines()

    def get(self, sid: str) -> Job | None:
        """Give a copy of a job as it is now, unless it has expired."""
        with self._lock:
            self._expire()
            return copy.copy(self._jobs.get(sid))

    def __len__(self) -> int:
        with self._lock:
            self._expire()
            return len(self._jobs)

    def waiting(self) -> int:
        """Count the jobs that wait for a worker, and have not begun yet.

        Those that wait for their time, or to be repeated or tried again, do
        not count.
        """
        return len(self._waiting)

    def unfinished(self) -> list[str]:
        """List the sids of the jobs that have not ended."""
        with self._lock:
            return list(self._unfinished)

    def wait(self, sid: str | None, timeout: float | None) -> bool:
        """Wait until the job of *sid*, or every job, has ended."""
        with self._ended:
            return self._ended.wait_for(
                lambda: (
                    not (
                        self._unfinished
                        if sid is None
                        else sid in self._unfinished
                    )
                ),
                timeout,
            )

    def accept(self, job: Job) -> None:
        """Take in a job that was committed."""
        with self._lock:
            self._jobs[job.sid] = job
            if job.due is None:
                self._waiting.add(job.sid)
            self._unfinished.add(job.sid)

    def claim(self, sid: str) -> Job | None:
        """Start a run of a job, unless it is not to be run."""
        with self._lock:
            job = self._jobs.get(sid)
            if job is None or job.state is not JobState.PENDING:
                return None
            self._waiting.discard(sid)
            if not job.repeats:
                job.attempt += 1
            job.run_number += 1
            job.state = JobState.RUNNING
            job.progress = job.due = None
            job.started = utc_now()
            return job

    def is_current(self, job: Job, run_number: int) -> bool:
        """Tell whether that run of *job* is under way."""
        return (
            self._jobs.get(job.sid) is job
            and job.state is JobState.RUNNING
            and job.run_number == run_number
        )

    def report(self, job: Job, run_number: int, progress: Progress) -> None:
        """Take note of the progress of a run."""
        with self._lock:
            if self.is_current(job, run_number):
                job.progress = progress
                job.reports += 1
        self._waiters.wake(job.sid, is_progress=True)

    def begin_commit(self, job: Job, run_number: int) -> bool:
        """Let nobody cancel a run whose effects are about to be committed.

        Returns whether the run is under way.
        """
        with self._lock:
            if not self.is_current(job, run_number):
                return False
            job.committing = True
            return True

    def abort_commit(self, job: Job, run_number: int) -> None:
        """Let it be cancelled again: the commit has failed."""
        with self._lock:
            if job.run_number == run_number:
                job.committing = False
                self._ended.notify_all()

    def release(
        self, job: Job, run_number: int, *, counts: bool = True
    ) -> None:
        """End a run, to repeat it."""
        with self._lock:
            if self.is_current(job, run_number):
                job.state = JobState.PENDING
                job.conflicts += counts
                job.repeats = True

    def succeed(self, job: Job, run_number: int, value: Dumped) -> bool:
        """End a run, and its job with it; returns whether it was current."""
        with self._lock:
            if not self.is_current(job, run_number):
                return False
            job.value = value
            self._end(job, JobState.SUCCEEDED)
            return True

    def fail(
        self, job: Job, run_number: int, failure: Failure, exception: bytes
    ) -> bool:
        """End a run, and its job with it; returns whether it was current.

        It is not if its effects may be committed already.
        """
        with self._lock:
            if not self.is_current(job, run_number) or job.committing:
                return False
            job.failure = failure
            job.exception = exception
            self._end(job, JobState.FAILED)
            return True

    def try_again(self, job: Job, run_number: int, due: float) -> bool:
        """End a run that failed, to begin another attempt when that is due.

        Returns whether it was current, as :meth:`fail` does.
        """
        with self._lock:
            if not self.is_current(job, run_number) or job.committing:
                return False
            self._rest(job)
            job.failures += 1
            job.due = due
        self._waiters.wake(job.sid)
        return True

    def _rest(self, job: Job) -> None:
        """Have a job wait as if it had not run, but for what it counts."""
        job.state = JobState.PENDING
        job.retries += 1
        job.conflicts, job.repeats = 0, False
        job.progress = job.started = job.finished = job.expires = None
        job.failure = job.exception = None

    def cancel(self, sid: str) -> Job | None:
        """End a job that has not ended; gives it if it did so."""
        with self._lock:
            job = self._jobs.get(sid)
            if job is None:
                return None
            self._ended.wait_for(lambda: not job.committing, COMMIT_TIME)
            if job.committing or job.state.done or sid not in self._jobs:
                return None
            self._waiting.discard(sid)
            self._end(job, JobState.CANCELLED)
            return copy.copy(job)

    def retry(self, sid: str) -> Job | None:
        """Have a failed job wait again; gives it if it was one."""
        with self._lock:
            self._expire()
            job = self._jobs.get(sid)
            if job is None or job.state is not JobState.FAILED:
                return None
            self._expiring.discard(sid)
            self._unfinished.add(sid)
            self._rest(job)
            job.failures = 0
            return copy.copy(job)

    def forget(self, sid: str) -> None:
        """Remove a job, whatever its state."""
        with self._lock:
            self._jobs.pop(sid, None)
            self._waiting.discard(sid)
            self._expiring.discard(sid)
            if sid in self._unfinished:
                self._unfinished.discard(sid)
                self._ended.notify_all()
        self._waiters.wake(sid)

    def _end(self, job: Job, state: JobState) -> None:
        timeout = job.options.result_timeout
        if timeout is None:
            timeout = self._timeout()
        job.state = state
        job.committing = False
        job.due = None
        if state is not JobState.FAILED:  # or it may be tried again
            job.call = None
        job.finished = utc_now()
        with contextlib.suppress(OverflowError):  # so late that it is never
            job.expires = job.finished + datetime.timedelta(seconds=timeout)
        self._unfinished.discard(job.sid)
        self._expire()
        self._expiring.set(job.sid, time.monotonic() + timeout)
        self._ended.notify_all()
        self._waiters.wake(job.sid)

    def _expire(self) -> None:
        now = time.monotonic()
        while (sid := self._expiring.pop(now)) is not None:
            self._on_expiry(self._jobs[sid])
            self.forget(sid)
