"""The table of the jobs that a process has in memory, and their states."""

import contextlib
import copy
import datetime
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from ..call import Loadable
from ..forking import call_after_fork
from ..job import Failure, JobState, Progress
from ..references import Dumped

__all__ = ["Job", "JobTable"]


def _utc_now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


@dataclass(kw_only=True, slots=True)
class Job:
    """All that is kept of a job; only its table changes it."""

    function: str
    owner: str | None
    base_url: str | None
    sid: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    call: Loadable | None = None
    state: JobState = JobState.PENDING
    attempt: int = 0
    conflicts: int = 0
    #: Whether the next run repeats the attempt.
    repeats: bool = False
    #: Tells the run that is under way from those that were given up.
    run_number: int = 0
    progress: Progress | None = None
    scheduled: datetime.datetime = field(default_factory=_utc_now)
    started: datetime.datetime | None = None
    finished: datetime.datetime | None = None
    expires: datetime.datetime | None = None
    value: Dumped | None = None
    failure: Failure | None = None
    exception: bytes | None = None


class JobTable:
    """The jobs whose transactions have committed.

    Threads may use it at the same time. No operation's cost depends on how
    many jobs there are.

    Args:
        timeout: gives the seconds for which an outcome is kept.
    """

    def __init__(self, timeout: Callable[[], float]) -> None:
        self._timeout = timeout
        self._begin()
        call_after_fork(self._begin)

    def _begin(self) -> None:
        """Know of no job; in a child they are the parent's."""
        self._lock = threading.RLock()
        self._ended = threading.Condition(self._lock)
        self._jobs: dict[str, Job] = {}
        self._waiting: set[str] = set()
        self._unfinished: set[str] = set()
        #: When to forget which finished job, in that order.
        self._expiring: OrderedDict[str, float] = OrderedDict()

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
        """Count the jobs that no run was started of."""
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
            job.progress = None
            job.started = _utc_now()
            return job

    def is_current(self, job: Job, run_number: int) -> bool:
        """Tell whether that run of *job* is under way."""
        return (
            self._jobs.get(job.sid) is job
            and job.state is JobState.RUNNING
            and job.run_number == run_number
        )

    def release(
        self, job: Job, run_number: int, *, counts: bool = True
    ) -> None:
        """End a run, to repeat it."""
        with self._lock:
            if self.is_current(job, run_number):
                job.state = JobState.PENDING
                job.conflicts += counts
                job.repeats = True
                self._waiting.add(job.sid)

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
        """End a run, and its job with it; returns whether it was current."""
        with self._lock:
            if not self.is_current(job, run_number):
                return False
            job.failure = failure
            job.exception = exception
            self._end(job, JobState.FAILED)
            return True

    def forget(self, sid: str) -> None:
        """Remove a job, whatever its state."""
        with self._lock:
            self._jobs.pop(sid, None)
            self._waiting.discard(sid)
            self._expiring.pop(sid, None)
            if sid in self._unfinished:
                self._unfinished.discard(sid)
                self._ended.notify_all()

    def _end(self, job: Job, state: JobState) -> None:
        timeout = self._timeout()
        job.state = state
        job.call = None
        job.finished = _utc_now()
        with contextlib.suppress(OverflowError):  # so late that it is never
            job.expires = job.finished + datetime.timedelta(seconds=timeout)
        self._unfinished.discard(job.sid)
        self._expire()
        self._expiring[job.sid] = time.monotonic() + timeout
        self._ended.notify_all()

    def _expire(self) -> None:
        now = time.monotonic()
        while self._expiring:
            sid = next(iter(self._expiring))
            if self._expiring[sid] > now:
                break
            self.forget(sid)
