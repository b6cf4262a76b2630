"""The jobs that are assigned to this process, in its memory."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from ...engine.submission import submit
from ...jobs.model import Progress
from ..sids import Place
from ..waiters import Waiters
from .assigned_job import AssignedJob
from .suspects import Suspects

__all__ = ["AssignedJobs"]


class AssignedJobs:
    """The assigned jobs, from their commit or takeover until they end here.

    Threads may use it at the same time.

    Args:
        waiters: are woken when a job changes.
        dropped: gets the sids of the jobs that are not assigned any more, or
            where they are, of those whose success is committed.
    """

    def __init__(
        self, waiters: Waiters, dropped: "deque[str | Place]"
    ) -> None:
        #: Gets the jobs to run, without the lock; set before there are any.
        self.engine: Any = None
        #: Wakes the maintenance, if that is running; it sets this.
        self.wake_maintenance: Callable[[], None] = lambda: None
        self._waiters = waiters
        self._to_settle = dropped
        self.reset()

    def reset(self) -> None:
        """Begin without jobs, also in a forked child."""
        self._lock = threading.RLock()
        self._dropped = threading.Condition(self._lock)
        self._jobs: dict[str, AssignedJob] = {}
        #: Where jobs are whose success is committed and not settled yet.
        self.succeeded: set[Place] = set()
        #: Those of the assigned ones of which a run is under way.
        self._running: dict[str, AssignedJob] = {}
        #: Those whose runs record a retry. A look may find it before the run
        #: knows that it is committed: the run is to tell of it, and goes on.
        self.left_to_runs: set[str] = set()
        #: How many of them this process has accepted and not begun. Those
        #: that it took over do not count, since they cannot be refused.
        self.new = 0
        #: How many jobs of committed transactions will be accepted: hooks of
        #: others may come before ours, and take their time.
        self.expected = 0
        self._suspects: Suspects[AssignedJob] = Suspects()
        #: Whether there are any, which is seldom.
        self._has_suspects = False
        #: Whether there ever was one that runs without a claim.
        self._has_unclaimed = False
        #: How many times :meth:`drop` was called.
        self.drops = 0
        #: Whether the next job is to wake the maintenance, for a sign of life.
        self.needs_sign = False
        #: Whether a job has reported progress since :meth:`take_running`.
        self.has_new_progress = False

    def __contains__(self, sid: str) -> bool:
        return sid in self._jobs

    def __len__(self) -> int:
        return len(self._jobs)

    def get(self, sid: str) -> AssignedJob | None:
        """Return the job, or ``None`` if it is not assigned to this process.

        Args:
            sid: the sid of the job.
        """
        return self._jobs.get(sid)

    def expect(self, number: int) -> None:
        """Count jobs that this process is to accept after their commit.

        Args:
            number: how many; less than 0 if it has sent messages for them.
        """
        with self._lock:
            self.expected += number

    def assign(self, jobs: Iterable[AssignedJob]) -> int:
        """Add jobs, and submit them to the engine.

        Args:
            jobs: the jobs, whose records are committed. One that is assigned
                already is ignored, unless it has a greater run number now.

        Returns:
            How many were added.
        """
        # The jobs are added before the engine gets them: begin() must find
        # them. The engine gets them without the lock, since it may run a job
        # at once, which calls begin() and drop().
        jobs, new = list(jobs), 0
        due: list[AssignedJob] = []
        suspects: list[AssignedJob] = []
        with self._lock:
            for assigned in jobs:
                self.expected -= assigned.is_new
                if self._is_unknown(assigned):
                    new += 1
                    self._jobs[assigned.sid] = assigned
                    self.new += assigned.is_new
                    self._has_unclaimed |= assigned.serial is not None
                    (suspects if assigned.suspect else due).append(assigned)
            if suspects:
                self._suspects.add(suspects)
                self._has_suspects = True
            due += self._next_suspects()
        if due:
            submit(self.engine, due)
        if (new and self.needs_sign) or self.suspects_wait():
            self.wake_maintenance()
        return new

    def _is_unknown(self, assigned: AssignedJob) -> bool:
        known = self._jobs.get(assigned.sid)
        # A retry can be committed, and assigned, before the run that failed
        # has dropped the job here.
        return assigned.sid not in self.left_to_runs and (
            known is None or known.fence.run_number < assigned.fence.run_number
        )

    def _next_suspects(self) -> list[AssignedJob]:
        """Return the suspects to submit now, if any; needs the lock."""
        if not self._has_suspects:
            return []
        workers, now = self.engine.workers or 1, time.monotonic()
        taken = self._suspects.take(self._holds, workers, now)
        self._has_suspects = bool(self._suspects)
        return taken

    def _holds(self, assigned: AssignedJob) -> bool:
        """Return whether a job is assigned; its retry is another one."""
        return self._jobs.get(assigned.sid) is assigned

    def suspects_wait(self) -> bool:
        """Return whether :meth:`submit_suspects` is to be called again."""
        return self._has_suspects and self._suspects.wait_for_time(self._holds)

    def submit_suspects(self) -> None:
        """Give the engine the suspects that may run by now."""
        with self._lock:
            due = self._next_suspects()
        if due:
            submit(self.engine, due)

    def _submit(self, due: list[AssignedJob]) -> None:
        """Have suspects run when a run is over, or when their time comes."""
        if due:
            submit(self.engine, due)
        if self.suspects_wait():
            self.wake_maintenance()

    def running(self) -> list[AssignedJob]:
        """Return the assigned jobs of which a run is under way."""
        with self._lock:
            return list(self._running.values())

    def all(self) -> list[AssignedJob]:
        """Return all jobs, in the order in which they came."""
        with self._lock:
            return list(self._jobs.values())

    def begin(self, sid: str) -> AssignedJob | None:
        """Record that a run of a job begins.

        Args:
            sid: the sid of the job.

        Returns:
            The job; ``None`` if it is not assigned to this process, or a run
            of it is under way.
        """
        with self._lock:
            assigned = self._jobs.get(sid)
            # The engine may have the sid twice, for instance of a job that
            # was dropped and assigned again.
            if assigned is None or assigned.started is not None:
                return None
            assigned.started = time.time()
            if assigned.suspect and assigned.begun is None:
                assigned.begun = time.monotonic()
            self._running[sid] = assigned
            assigned.progress = None
            assigned.changes += 1
            self.new -= assigned.is_new
            assigned.is_new = False
        self._waiters.wake(sid, is_progress=True)
        return assigned

    def report(self, assigned: AssignedJob, progress: Progress) -> None:
        """Record the progress of a running job, and wake its waiters.

        Args:
            assigned: the job.
            progress: its progress.
        """
        with self._lock:
            # First the data, then what makes other threads read it.
            assigned.progress = progress
            assigned.changes += 1
        self.has_new_progress = True
        self._waiters.wake(assigned.sid, is_progress=True)

    def take_begun(self) -> list[AssignedJob]:
        """Return what :meth:`begun` does; reset :attr:`has_new_progress`."""
        # Reset first: progress that is reported meanwhile sets it again, and
        # is written by the next round if not by this one.
        self.has_new_progress = False
        return self.begun()

    def begun(self) -> list[AssignedJob]:
        """Return the jobs that run, or did and are to be repeated.

        And those that are about to run without a claim.
        """
        with self._lock:
            return [
                assigned
                for assigned in self._jobs.values()
                if assigned.changes or assigned.serial is not None
            ]

    def run_unclaimed(self) -> bool:
        """Return whether a job runs here, or will, without a claim."""
        # those of a worker are few
        return self._has_unclaimed and any(
            assigned.serial is not None for assigned in self.all()
        )

    def release(self, assigned: AssignedJob, *, counts: bool = True) -> None:
        """Record that a run has ended and is to be repeated.

        It will not be if the job was dropped meanwhile.

        Args:
            assigned: the job.
            counts: whether the run counts as one more conflict.
        """
        with self._lock:
            if (
                self._jobs.get(assigned.sid) is assigned
                and assigned.started is not None
            ):
                assigned.conflicts += counts
            self._end_run(assigned)
            assigned.changes += 1
            due = self._next_suspects()
        self._waiters.wake(assigned.sid, is_progress=True)
        self._submit(due)

    def drop(self, sid: str) -> None:
        """Remove a job: it has ended, or belongs to another process.

        Args:
            sid: the sid of the job.
        """
        with self._lock:
            assigned = self._jobs.get(sid)
            if assigned is not None:
                self._remove(assigned)
            due = self._note_drop()
        # after the removal: a waiter that is woken reads the job again
        self._waiters.wake(sid)
        self._submit(due)

    def drop_run(self, assigned: AssignedJob, ended: Place | None) -> None:
        """Remove a job whose run is over.

        Args:
            assigned: the job as the run knows it. A retry of the job that was
                assigned since stays assigned.
            ended: where it is, if the run has committed its success.
        """
        with self._lock:
            if self._jobs.get(assigned.sid) is assigned:
                self._remove(assigned, ended)
            self._end_run(assigned)
            due = self._note_drop()
        self._waiters.wake(assigned.sid)
        self._submit(due)

    def drop_ended(self, assigned: AssignedJob) -> None:
        """Remove a job that is over, though a run of it may go on.

        Args:
            assigned: the job as the caller knew it before it found out. If
                it was assigned again since, by a retry, that one stays.
        """
        # the check and the removal are one step: a retry may come in between
        with self._lock:
            is_left = assigned.sid in self.left_to_runs
            if is_left or self._jobs.get(assigned.sid) is not assigned:
                return
            self._remove(assigned)
            due = self._note_drop()
        self._waiters.wake(assigned.sid)
        self._submit(due)

    def _remove(
        self, assigned: AssignedJob, ended: Place | None = None
    ) -> None:
        """Remove a job that is assigned; needs the lock."""
        del self._jobs[assigned.sid]
        if ended is not None:
            self.succeeded.add(ended)
        self._to_settle.append(ended or assigned.sid)
        self.new -= assigned.is_new
        self._leave_running(assigned)

    def _end_run(self, assigned: AssignedJob) -> None:
        """Record that no run of a job is under way; needs the lock."""
        assigned.started = None
        self._leave_running(assigned)

    def _leave_running(self, assigned: AssignedJob) -> None:
        # the run of a retry may be under way beside an older one
        if self._running.get(assigned.sid) is assigned:
            del self._running[assigned.sid]

    def _note_drop(self) -> list[AssignedJob]:
        """Count a drop, and return the suspects that may run now."""
        self.drops += 1
        self._dropped.notify_all()
        return self._next_suspects()

    def wait_for_drop(self, drops: int, timeout: float) -> None:
        """Wait until a job is dropped.

        Args:
            drops: the value of :attr:`drops` before the caller checked what
                it waits for. So a drop between the check and this call ends
                the wait at once.
            timeout: the longest wait in seconds.
        """
        with self._dropped:
            self._dropped.wait_for(lambda: self.drops > drops, timeout)
