"""The table of the jobs in memory, and all changes of their states."""

import copy
import threading
import time
from collections.abc import Callable

from ...concurrency.deadlines import Deadlines
from ...concurrency.forks import call_after_fork
from ...jobs.model import Failure, JobState, Progress
from ...transfer.envelopes import Dumped
from ..waiters import Waiters
from .job import NO_JOB, Job
from .known_jobs import KnownJobs

__all__ = ["JobTable"]

#: For how many seconds a cancel waits for a commit of the job that is under
#: way, which may succeed or fail.
COMMIT_TIME = 5.0


class JobTable:
    """The jobs whose transactions have committed.

    Threads may use it at the same time. No operation costs much more when
    there are many jobs. There is no thread that removes expired jobs: methods
    do so before they read.

    Args:
        timeout: returns for how many seconds an outcome is stored if the
            options of the job set no number.
        waiters: the waiters of this process.
        on_expiry: called with each job that expires, before it is removed;
            must not call the table, which is locked.
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
        """Start with no jobs.

        Called again in a forked child, which must not run those of the
        parent, and in which its locks may never be released.
        """
        self._lock = threading.RLock()
        #: Notified when a job has ended, or its commit has failed.
        self._ended = threading.Condition(self._lock)
        self._jobs = KnownJobs()
        #: When jobs that have ended expire, on the monotonic clock, by sid.
        self._expiring: Deadlines[str] = Deadlines()

    def get(self, sid: str) -> Job | None:
        """Return a copy of a job as it is now.

        Args:
            sid: the sid of the job.

        Returns:
            The copy; ``None`` if there is no such job, or it has expired.
        """
        with self._lock:
            self._expire()
            job = copy.copy(self._jobs.get(sid) or NO_JOB)
            return job if job.sid else None

    def has_ended(self, sid: str) -> bool | None:
        """Return whether a job has ended.

        Args:
            sid: the sid of the job.

        Returns:
            ``True`` or ``False``; ``None`` if there is no such job, or it has
            expired.
        """
        if sid in self._jobs.unfinished:
            return False
        with self._lock:  # it may have expired
            self._expire()
            job = self._jobs.get(sid)
            return None if job is None else job.state.done

    def __len__(self) -> int:
        with self._lock:
            self._expire()
            return len(self._jobs)

    def waiting(self) -> int:
        """Return how many jobs wait for a worker and have never run.

        Those that wait until they are due, or are to be repeated or retried,
        do not count.
        """
        return self._jobs.new

    def unfinished(self) -> list[str]:
        """Return the sids of the jobs that have not ended."""
        with self._lock:
            return list(self._jobs.unfinished)

    def wait(self, sid: str | None, timeout: float | None) -> bool:
        """Wait until a job, or every job, has ended.

        Args:
            sid: the sid of the job; ``None`` stands for all jobs.
            timeout: the longest wait in seconds; ``None`` for no limit.

        Returns:
            Whether it has, or they have, ended.
        """
        unfinished = self._jobs.unfinished
        with self._ended:
            return self._ended.wait_for(
                lambda: not (unfinished if sid is None else sid in unfinished),
                timeout,
            )

    def accept(self, job: Job) -> None:
        """Add a job whose transaction has committed.

        Args:
            job: the job.
        """
        with self._lock:
            self._jobs.add(job)

    def claim(self, sid: str) -> Job | None:
        """Record that a run of a job begins.

        Args:
            sid: the sid of the job.

        Returns:
            The job; ``None`` if it is not pending.
        """
        with self._lock:
            job = self._jobs.unfinished.get(sid)
            if job is None or job.state is not JobState.PENDING:
                return None
            self._jobs.begin(job)
            if not job.repeats:
                job.attempt += 1
            # from here on, all that an earlier run still does is refused
            job.run_number += 1
            job.state = JobState.RUNNING
            job.progress = job.due = None
            job.started = time.time()
            job.changes += 1
        self._waiters.wake(sid, is_progress=True)
        return job

    def is_current(self, job: Job, run_number: int) -> bool:
        """Return whether a run is the one that is under way.

        Args:
            job: the job.
            run_number: the number of the run.
        """
        return (
            self._jobs.unfinished.get(job.sid) is job
            and job.state is JobState.RUNNING
            and job.run_number == run_number
        )

    def report(self, job: Job, run_number: int, progress: Progress) -> None:
        """Record the progress of a run, if it is the current one.

        Args:
            job: the job.
            run_number: the number of the run.
            progress: its progress.
        """
        with self._lock:
            if self.is_current(job, run_number):
                job.progress = progress
                job.changes += 1
        self._waiters.wake(job.sid, is_progress=True)

    def begin_commit(self, job: Job, run_number: int) -> bool:
        """Make cancels wait, since effects are about to be committed.

        Args:
            job: the job.
            run_number: the number of the run.

        Returns:
            Whether the run is the current one, and may commit.
        """
        with self._lock:
            if not self.is_current(job, run_number):
                return False
            job.committing = True
            return True

    def abort_commit(self, job: Job, run_number: int) -> None:
        """Let cancels go on, since the commit has failed.

        Args:
            job: the job.
            run_number: the number of the run.
        """
        with self._lock:
            if job.run_number == run_number:
                job.committing = False
                self._ended.notify_all()

    def release(
        self, job: Job, run_number: int, *, counts: bool = True
    ) -> None:
        """Set a job back to pending, to repeat the attempt.

        Args:
            job: the job.
            run_number: the number of the run, which must be the current one.
            counts: whether the run counts as one more conflict.
        """
        with self._lock:
            if self.is_current(job, run_number):
                job.state = JobState.PENDING
                job.conflicts += counts
                job.repeats = True
                job.changes += 1
        self._waiters.wake(job.sid, is_progress=True)

    def succeed(self, job: Job, run_number: int, value: Dumped) -> bool:
        """Record the success of a job.

        Args:
            job: the job.
            run_number: the number of the run.
            value: what the job returned, pickled.

        Returns:
            Whether the run was the current one. If not, nothing changes.
        """
        with self._lock:
            if not self.is_current(job, run_number):
                return False
            job.value = value
            self._end(job, JobState.SUCCEEDED)
            return True

    def fail(
        self,
        job: Job,
        run_number: int,
        failure: Failure,
        exception: bytes,
        *,
        in_doubt: bool = False,
    ) -> bool:
        """Record the failure of a job.

        Args:
            job: the job.
            run_number: the number of the run.
            failure: why it failed.
            exception: the pickled exception.
            in_doubt: whether it fails since nobody knows whether its effects
                are committed.

        Returns:
            Whether the run was the current one. If not, or if its effects may
            be committed already and it does not fail for that, nothing
            changes.
        """
        # The watchdog of time limits calls this while the run goes on, so a
        # commit may be under way.
        with self._lock:
            if not self.is_current(job, run_number) or (
                job.committing and not in_doubt
            ):
                return False
            job.failure = failure
            job.exception = exception
            self._end(job, JobState.FAILED)
            return True

    def try_again(self, job: Job, run_number: int, due: float) -> bool:
        """Set a job whose attempt failed back to pending.

        Args:
            job: the job.
            run_number: the number of the run.
            due: when the next attempt is due, in seconds since the epoch.

        Returns:
            Whether the run was the current one, as :meth:`fail` does.
        """
        with self._lock:
            if not self.is_current(job, run_number) or job.committing:
                return False
            job.reset()
            job.failures += 1
            job.wait_until(due)
        self._waiters.wake(job.sid)
        return True

    def cancel(self, sid: str) -> Job | None:
        """Cancel a job, if it has not ended.

        If its effects are being committed, this waits for the end of that
        commit for up to five seconds.

        Args:
            sid: the sid of the job.

        Returns:
            A copy of the cancelled job; ``None`` if it was not cancelled.
        """
        with self._lock:
            job = self._jobs.unfinished.get(sid)
            if job is None:
                return None
            # The wait releases the lock, so all is checked again after it.
            self._ended.wait_for(lambda: not job.committing, COMMIT_TIME)
            if job.committing or sid not in self._jobs.unfinished:
                return None
            self._end(job, JobState.CANCELLED)
            return copy.copy(job)

    def retry(self, sid: str) -> Job | None:
        """Set a failed job back to pending.

        Args:
            sid: the sid of the job.

        Returns:
            A copy of the job; ``None`` if it is not a failed one.
        """
        with self._lock:
            self._expire()
            job = self._jobs.ended.get(sid)
            if job is None or job.state is not JobState.FAILED:
                return None
            self._expiring.discard(sid)
            self._jobs.reopen(job)
            job.reset()
            job.failures = 0
            return copy.copy(job)

    def forget(self, sid: str) -> None:
        """Remove a job in any state, if it exists.

        Args:
            sid: the sid of the job.
        """
        with self._lock:
            self._expiring.discard(sid)
            if self._jobs.remove(sid) is not None:
                self._ended.notify_all()
        self._waiters.wake(sid)

    def _end(self, job: Job, state: JobState) -> None:
        """Set the state of a job that has ended; the lock must be held."""
        timeout = job.options.result_timeout
        if timeout is None:
            timeout = self._timeout()
        job.end(state, timeout)
        self._jobs.end(job)
        self._expire()
        self._expiring.set(job.sid, time.monotonic() + timeout)
        self._ended.notify_all()
        self._waiters.wake(job.sid)

    def _expire(self) -> None:
        """Remove the jobs that have expired; the lock must be held."""
        now = time.monotonic()
        while (sid := self._expiring.pop(now)) is not None:
            self._on_expiry(self._jobs.ended[sid])
            self.forget(sid)
