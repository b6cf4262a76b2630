"""The choice of the process that runs a job, and the way to its engine."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from ...database.storages import is_for_one_process
from ...engine.submission import submit
from ...interfaces import IEngine, IRemoteEngine
from ...jobs.options import Options
from ..store.location import StoreLocation
from .assigned_jobs import AssignedJob, AssignedJobs

__all__ = ["Dispatcher"]


class Dispatcher:
    """Decides which process runs a job, and gives the job to an engine.

    Args:
        location: where the store is.
        incarnation: the identity of this process as one that runs jobs.
        lease: after how many seconds without a sign of life the jobs of
            another process are taken over.
        runs_jobs: returns whether this process runs jobs at all.
    """

    def __init__(
        self,
        location: StoreLocation,
        incarnation: str,
        lease: float,
        runs_jobs: Callable[[], bool],
    ) -> None:
        self._location = location
        self._incarnation = incarnation
        self._lease = lease
        #: Runs jobs, or sends messages for them; set by :meth:`use` before
        #: there are any jobs.
        self.engine: Any = None
        #: The same engine if it sends messages, else ``None``.
        self._remote: Any = None
        self._runs_jobs = runs_jobs

    def use(self, engine: IEngine) -> None:
        """Set the engine.

        Args:
            engine: runs jobs on threads of this process, or sends messages
                to processes that do.
        """
        self.engine = engine
        self._remote = engine if IRemoteEngine.providedBy(engine) else None

    def runs(self, queue: str) -> bool:
        """Return whether threads of this process run jobs of *queue*.

        Args:
            queue: the name of the queue, from the options of a job.
        """
        return self._remote is None or bool(self._remote.runs(queue))

    def sends(self, queue: str) -> bool:
        """Return whether this process sends messages for jobs of *queue*.

        Args:
            queue: the name of the queue.
        """
        return self._remote is not None and bool(self._remote.sends(queue))

    def leaves(self, queue: str) -> bool:
        """Return whether other processes see to the jobs of *queue*.

        Args:
            queue: the name of the queue.
        """
        return not (self.runs(queue) or self.sends(queue))

    @property
    def sends_ahead(self) -> bool:
        """Whether this process sends messages for jobs that become due."""
        return self._remote is not None and not self._remote.is_worker

    def incarnation_for(
        self, due: float | None, options: Options
    ) -> str | None:
        """Return the incarnation that a job is to be assigned to.

        Args:
            due: when the job is due, in seconds since the epoch; ``None`` if
                at once.
            options: the options of the job.

        Returns:
            This process, if it runs such jobs and the job is due within a
            lease; else ``None``, and any process may take the job over or
            claim it.
        """
        if not (self._runs_jobs() and self.runs(options.queue)):
            return None
        # A process with assigned jobs writes signs of life. On a storage that
        # only this process has open it need not, and can take all jobs.
        if self._is_far(due) and not is_for_one_process(
            self._location.db.storage
        ):
            return None
        return self._incarnation

    def _is_far(self, due: float | None) -> bool:
        return due is not None and due > time.time() + self._lease

    def needs_handing_over(
        self, incarnation: str | None, due: float | None, options: Options
    ) -> bool:
        """Return whether this process must do something after the commit.

        Args:
            incarnation: what :meth:`incarnation_for` returned for the job.
            due: when the job is due, in seconds since the epoch; ``None`` if
                at once.
            options: the options of the job.
        """
        if incarnation is not None:
            return True
        return self.sends(options.queue) and not self._is_far(due)

    def hand_over(
        self, jobs: Iterable[AssignedJob], assigned_jobs: AssignedJobs
    ) -> None:
        """Assign committed jobs to this process, or send messages for them.

        Args:
            jobs: the jobs. One with a runner has this process as its runner.
            assigned_jobs: the jobs that are assigned to this process.
        """
        own = []
        for job in jobs:
            if job.fence.runner is not None:
                own.append(job)
            elif self.needs_handing_over(None, job.due, job.options):
                self.send(job)
        if own:
            assigned_jobs.assign(own)

    def submit(self, jobs: list[AssignedJob]) -> None:
        """Give jobs to the engine, to be run by threads of this process.

        Args:
            jobs: the jobs, which are assigned to this process.
        """
        submit(self.engine, jobs)

    def send(self, job: AssignedJob) -> None:
        """Send a message for a job that a process with workers is to claim.

        Args:
            job: the job, without a runner.
        """
        self._remote.send(
            job.sid,
            queue=job.options.queue,
            due=job.due,
            priority=job.options.priority,
        )

    def count(self, queue: str, callback: Callable[[int], None]) -> None:
        """Ask the broker how many messages wait in a queue.

        Args:
            queue: the name of the queue.
            callback: called with the number by another thread; not called if
                it cannot be found out.
        """
        self._remote.count(queue, callback)

    def unsent(self) -> int:
        """Return for how many jobs a message is still to be sent."""
        return int(self._remote.unsent()) if self._remote is not None else 0
