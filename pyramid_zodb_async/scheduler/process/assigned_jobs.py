"""The jobs that a process is to run, as it knows them in memory."""

import datetime
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ...jobs.model import Progress, Version
from ...jobs.options import Options
from ..records import Fence, Record
from ..waiters import Waiters

__all__ = ["AssignedJob", "AssignedJobs"]


@dataclass(kw_only=True, slots=True)
class AssignedJob:
    """A job that this process is to run."""

    sid: str
    function: str
    owner: str | None
    base_url: str | None
    #: The number of the run to come, or under way.
    attempt: int
    #: When it was scheduled, in seconds since the epoch.
    scheduled: float
    #: What the record must be for the run to count.
    fence: Fence
    options: Options
    #: When the run to come is to begin, in seconds since the epoch.
    due: float | None = None
    #: How many attempts have failed since it was scheduled, or retried.
    failures: int = 0
    #: It may have ended its process, so it runs beside no other such job.
    suspect: bool = False
    #: How often its process ended while it ran.
    crashes: int = 0
    conflicts: int = 0
    #: This process has accepted it, and begun no run of it yet.
    is_new: bool = False
    #: When the run under way began; ``None`` while it waits.
    started: datetime.datetime | None = None
    progress: Progress | None = None
    #: How often it has reports of its progress.
    reports: int = 0
    #: How often a run of it began.
    starts: int = 0

    @property
    def version(self) -> Version:
        """Which view of the job this process has."""
        return Version(
            run=self.fence.run_number,
            progress=self.reports,
            starts=self.starts,
        )

    def history(self) -> dict[str, Any]:
        """Tell what the record has to know of the run when that is over."""
        if self.started is None:
            return {}
        return {
            "attempt": self.attempt,
            "started": self.started.timestamp(),
            "progress": self.progress and self.progress.as_tuple(),
        }

    @classmethod
    def of(
        cls, sid: str, record: Record, *, is_new: bool = False
    ) -> "AssignedJob":
        """Hold the job of a record that this process has written."""
        return cls(
            is_new=is_new,
            sid=sid,
            function=record.function,
            owner=record.owner,
            base_url=record.base_url,
            attempt=record.attempt + 1,
            scheduled=record.scheduled,
            fence=record.fence,
            options=Options.load(record.options),
            due=record.due,
            failures=record.failures,
            suspect=record.suspect,
            crashes=record.crashes,
        )


class AssignedJobs:
    """Those jobs, from their commit or takeover until they end here.

    Threads may use it at the same time. Of the suspects one at a time is
    handed out, the one with the fewest crashes first, so that the innocent
    are not counted with the guilty.

    Args:
        submit: gives jobs to the engine.
        waiters: who waits for a job to change.
    """

    def __init__(
        self, submit: Callable[[list[AssignedJob]], None], waiters: Waiters
    ) -> None:
        self._submit = submit
        self._waiters = waiters
        self._lock = threading.RLock()
        self._dropped = threading.Condition(self._lock)
        self._jobs: dict[str, AssignedJob] = {}
        self._new = 0
        self._suspects: deque[str] = deque()
        #: The suspect that was handed out.
        self._current_suspect: AssignedJob | None = None
        #: How many jobs were dropped.
        self.drops = 0
        #: Whether a job has reports of its progress since it was asked for.
        self.has_new_progress = False

    def __contains__(self, sid: str) -> bool:
        return sid in self._jobs

    def __len__(self) -> int:
        return len(self._jobs)

    def get(self, sid: str) -> AssignedJob | None:
        """Give what is known of a job that this process is to run."""
        return self._jobs.get(sid)

    def waiting(self) -> int:
        """Count the jobs that this process accepted and has not begun.

        Those that it took over do not count: they could not be refused.
        """
        return self._new

    def assign(self, jobs: Iterable[AssignedJob]) -> None:
        """Take in jobs, and hand them to the engine."""
        with self._lock:
            new = [assigned for assigned in jobs if self._is_unknown(assigned)]
            self._jobs.update((assigned.sid, assigned) for assigned in new)
            self._new += sum(assigned.is_new for assigned in new)
            suspects = [assigned for assigned in new if assigned.suspect]
            suspects.sort(key=lambda assigned: assigned.crashes)
            self._suspects.extend(assigned.sid for assigned in suspects)
            due = [assigned for assigned in new if not assigned.suspect]
            due += self._next_suspect()
        if due:
            self._submit(due)

    def _is_unknown(self, assigned: AssignedJob) -> bool:
        known = self._jobs.get(assigned.sid)
        # a retry may come before the failed run has been put away
        return (
            known is None or known.fence.run_number < assigned.fence.run_number
        )

    def _next_suspect(self) -> list[AssignedJob]:
        if self._current_suspect is not None and self._is_out(
            self._current_suspect
        ):
            return []
        self._current_suspect = None
        while self._current_suspect is None and self._suspects:
            self._current_suspect = self._jobs.get(self._suspects.popleft())
        return [self._current_suspect] if self._current_suspect else []

    def _is_out(self, assigned: AssignedJob) -> bool:
        """Tell whether a job is held, or runs though it was dropped."""
        return (
            self._jobs.get(assigned.sid) is assigned
            or assigned.started is not None
        )

    def running_suspect(self) -> AssignedJob | None:
        """Give the suspect that runs, if one does."""
        with self._lock:
            assigned = self._current_suspect
            if assigned is not None and assigned.started is not None:
                return assigned
            return None

    def begin(self, sid: str) -> AssignedJob | None:
        """Start a run of a job, unless one is under way or it is gone."""
        with self._lock:
            assigned = self._jobs.get(sid)
            if assigned is None or assigned.started is not None:
                return None
            assigned.started = datetime.datetime.now(datetime.UTC)
            assigned.progress = None
            assigned.starts += 1
            self._new -= assigned.is_new
            assigned.is_new = False
            return assigned

    def report(self, assigned: AssignedJob, progress: Progress) -> None:
        """Take note of a running job's progress."""
        assigned.progress = progress
        assigned.reports += 1
        self.has_new_progress = True
        self._waiters.wake(assigned.sid, is_progress=True)

    def take_running(self) -> list[AssignedJob]:
        """Give the jobs that run, when one has reports of its progress."""
        self.has_new_progress = False
        with self._lock:
            return [
                assigned
                for assigned in self._jobs.values()
                if assigned.started
            ]

    def release(self, assigned: AssignedJob, *, counts: bool = True) -> None:
        """End a run, which will be repeated unless the job was dropped.

        With *counts* it is a conflict more.
        """
        with self._lock:
            if (
                self._jobs.get(assigned.sid) is assigned
                and assigned.started is not None
            ):
                assigned.conflicts += counts
            assigned.started = None
            due = self._next_suspect()
        if due:
            self._submit(due)

    def drop(self, sid: str, only: AssignedJob | None = None) -> None:
        """Forget a job: it is not this process's any more.

        With *only* its run is over, and what has taken its place since is
        kept.
        """
        with self._lock:
            assigned = self._jobs.get(sid)
            if assigned is not None and (only is None or only is assigned):
                del self._jobs[sid]
                self._new -= assigned.is_new
            if only is not None:
                only.started = None
            due = self._next_suspect()
            self.drops += 1
            self._dropped.notify_all()
        self._waiters.wake(sid)
        if due:
            self._submit(due)

    def wait_for_drop(self, drops: int, timeout: float) -> None:
        """Wait for more than that many drops, but no longer than *timeout* s.

        So a drop between a look at :attr:`drops` and this call counts.
        """
        with self._dropped:
            self._dropped.wait_for(lambda: self.drops > drops, timeout)
