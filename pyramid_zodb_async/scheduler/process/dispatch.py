"""The choice of the process that runs a job, and the way to its engine."""

import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from ...database.storages import is_for_one_process
from ...interfaces import IEngine, IRemoteEngine
from ...jobs.options import Options
from ..store.location import StoreLocation
from .assigned_job import AssignedJob
from .assigned_jobs import AssignedJobs

__all__ = ["Dispatcher"]

#: From how many jobs of one commit on, which count as no new ones, those of
#: other commits are sent before them.
MANY = 100


class Dispatcher:
    """Decides which process runs a job, and gives the job to an engine.

    Args:
        location: where the store is.
        incarnation: the identity of this process as one that runs jobs.
        lease: after how many seconds without a sign of life the jobs of
            another process are taken over.
        assigned_jobs: the jobs that are assigned to this process.
    """

    def __init__(
        self,
        location: StoreLocation,
        incarnation: str,
        lease: float,
        assigned_jobs: AssignedJobs,
    ) -> None:
        self._location = location
        self.incarnation = incarnation
        self._lease = lease
        self._assigned_jobs = assigned_jobs
        #: Runs jobs, or sends messages for them; set by :meth:`use` before
        #: there are any jobs.
        self.engine: Any = None
        #: The same engine if it sends messages, else ``None``.
        self.remote: Any = None
        #: Whether this process runs jobs, or leaves them to others.
        self.runs_jobs = False

    def use(self, engine: IEngine) -> None:
        """Set the engine.

        Args:
            engine: runs jobs on threads of this process, or sends messages
                to processes that do.
        """
        self.engine = self._assigned_jobs.engine = engine
        self.remote = engine if IRemoteEngine.providedBy(engine) else None

    @property
    def workers(self) -> int:
        """How many jobs the engine runs at a time; 0 if nobody knows."""
        return self.engine.workers or 0

    def runs(self, queue: str) -> bool:
        """Return whether threads of this process run jobs of *queue*.

        Args:
            queue: the name of the queue, from the options of a job.
        """
        return self.remote is None or bool(self.remote.runs(queue))

    def sends(self, queue: str) -> bool:
        """Return whether this process sends messages for jobs of *queue*.

        Args:
            queue: the name of the queue.
        """
        return self.remote is not None and bool(self.remote.sends(queue))

    def leaves(self, queue: str) -> bool:
        """Return whether other processes see to the jobs of *queue*.

        Args:
            queue: the name of the queue.
        """
        return not (self.runs(queue) or self.sends(queue))

    @property
    def sends_ahead(self) -> bool:
        """Whether this process sends messages for jobs that become due."""
        return self.remote is not None and not self.remote.is_worker

    def assign(
        self, due: float | None, options: Options
    ) -> tuple[str | None, bool]:
        """Decide which process is to run a job.

        Args:
            due: when the job is due, in seconds since the epoch; ``None`` if
                at once.
            options: the options of the job.

        Returns:
            The incarnation that the job is to be assigned to: this one, if it
            runs such jobs and the job is due within a lease; else ``None``,
            and any process may take the job over or claim it. And whether
            this process must do something for the job after the commit.
        """
        incarnation = self._incarnation_for(due, options)
        return incarnation, incarnation is not None or self._is_sent_at_once(
            due, options
        )

    def _incarnation_for(
        self, due: float | None, options: Options
    ) -> str | None:
        if not (self.runs_jobs and self.runs(options.queue)):
            return None
        # A process with assigned jobs writes signs of life. On a storage that
        # only this process has open it need not, and can take all jobs.
        if self._is_far(due) and not is_for_one_process(
            self._location.db.storage
        ):
            return None
        return self.incarnation

    def _is_far(self, due: float | None) -> bool:
        return due is not None and due > time.time() + self._lease

    def _is_sent_at_once(self, due: float | None, options: Options) -> bool:
        """Return whether to send a message for a job that is not assigned."""
        return self.sends(options.queue) and not self._is_far(due)

    def hand_over(self, jobs: Iterable[AssignedJob]) -> None:
        """Assign committed jobs to this process, or send messages for them.

        Args:
            jobs: the jobs. One with a runner has this process as its runner.
        """
        own = []
        together: dict[tuple[Any, ...], list[AssignedJob]] = defaultdict(list)
        for job in jobs:
            if job.fence.runner is not None:
                own.append(job)
            elif self._is_sent_at_once(job.due, job.options):
                if job.is_new or job.due is not None:
                    self.send(job)
                    # after that, so that each counts at least once
                    self._assigned_jobs.expect(-job.is_new)
                else:
                    options = job.options
                    rank = options.queue, options.priority, job.serial
                    together[rank].append(job)
        if own:
            self._assigned_jobs.assign(own)
        for (queue, priority, serial), alike in together.items():
            if len(alike) < MANY:  # such as retries
                for job in alike:
                    self.send(job)
            else:
                sids = tuple(job.sid for job in alike)
                self.remote.send_all(
                    sids, queue=queue, priority=priority, serial=serial
                )

    def send(self, job: AssignedJob) -> None:
        """Send a message for a job that a process with workers is to claim.

        Args:
            job: the job, without a runner. With its serial it needs no claim,
                for this is the first message.
        """
        self.remote.send(
            job.sid,
            queue=job.options.queue,
            due=job.due,
            priority=job.options.priority,
            serial=job.serial,
        )

    def unsent(self) -> int:
        """Return for how many jobs a message is still to be sent."""
        return int(self.remote.unsent()) if self.remote is not None else 0
