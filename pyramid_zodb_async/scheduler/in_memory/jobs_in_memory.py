"""The jobs in memory, and their ways to the engine and to subscribers."""

from collections.abc import Callable
from typing import Any

from ...engine.submission import submit
from ...events import JobEvent, JobExpired, JobScheduled
from ..commit_queue import CommitQueue
from ..transaction_changes import OpenChanges
from ..waiters import Waiters
from .job import Job, view_of
from .table import JobTable

__all__ = ["JobsInMemory"]


class JobsInMemory:
    """What the parts of a scheduler in memory have in common.

    Args:
        timeout: returns for how many seconds an outcome is stored if the
            options of the job set no number.
    """

    def __init__(self, timeout: Callable[[], float]) -> None:
        self.waiters = Waiters()
        self.table = JobTable(
            timeout, self.waiters, lambda job: self.note(JobExpired, job)
        )
        self.commit_queue: CommitQueue[Job] = CommitQueue(self._submit)
        self.changes = OpenChanges(self.work_off)
        #: The engine, which runs the jobs; ``None`` until it is set.
        self.engine: Any = None

    def accept(self, job: Job) -> None:
        """Add a job whose transaction is being committed.

        It runs within the commit, after all other participants have
        committed. Only the after-commit hook submits the job to the engine.

        Args:
            job: the job.
        """
        # The event is queued first: as soon as the job is submitted, which
        # any thread may do, it can run and cause further events.
        self.note(JobScheduled, job)
        # In the table before it can be submitted: a worker that does not
        # find the job there takes it for one that is gone.
        self.table.accept(job)
        self.commit_queue.add_job(job)

    def note(self, kind: type[JobEvent], job: Job) -> None:
        """Have an event delivered by the next :meth:`work_off`.

        Args:
            kind: the class of the event.
            job: the job, as the event is to show it.
        """
        self.commit_queue.add_event(kind, lambda: view_of(job, None))

    def run_again(self, job: Job) -> None:
        """Have the engine run a job once more.

        Args:
            job: the job, with the time when it is due.
        """
        self.commit_queue.add_job(job)
        self.work_off()

    def withdraw(self, sid: str) -> None:
        """Have the engine not run a job.

        Args:
            sid: the sid of the job.
        """
        if self.engine is not None:
            self.engine.withdraw(sid)

    def work_off(self) -> None:
        """Deliver the events, and submit the committed jobs to the engine."""
        if self.engine is None:  # the jobs wait for it
            self.commit_queue.deliver()
        else:
            self.commit_queue.work_off()

    def try_again(self) -> None:
        """Have the jobs run for which no thread could be started before.

        No thread looks after jobs in memory, so those who ask for a pending
        one, or wait for jobs, do this.
        """
        if self.engine is not None:
            self.engine.submit([])

    def _submit(self, jobs: list[Job]) -> None:
        submit(self.engine, jobs)
