"""Tells which process is to run a job, and lets the engine know."""

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
    """The ways from a process that has a job to the one that runs it.

    Args:
        location: where the store is.
        incarnation: this process's identity.
        lease: how long another process may give no sign of life, in seconds.
        runs_jobs: tells whether this process runs jobs at all.
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
        #: Runs jobs, or sends word of them; given before there are any.
        self.engine: Any = None
        self._remote: Any = None
        self._runs_jobs = runs_jobs

    def use(self, engine: IEngine) -> None:
        """Have *engine* run the jobs, or know who does."""
        self.engine = engine
        self._remote = engine if IRemoteEngine.providedBy(engine) else None

    def runs(self, queue: str) -> bool:
        """Tell whether threads of this process run jobs of *queue*."""
        return self._remote is None or bool(self._remote.runs(queue))

    def sends(self, queue: str) -> bool:
        """Tell whether this process sends others word of such jobs."""
        return self._remote is not None and bool(self._remote.sends(queue))

    def leaves(self, queue: str) -> bool:
        """Tell whether such jobs do not concern this process."""
        return not (self.runs(queue) or self.sends(queue))

    @property
    def sends_ahead(self) -> bool:
        """Whether it is this process that looks out for what becomes due."""
        return self._remote is not None and not self._remote.is_worker

    def incarnation_for(
        self, due: float | None, options: Options
    ) -> str | None:
        """Tell who is to run a job that is *due* then, if that is known.

        This process is, if it runs such jobs and it is due soon. If not, and
        others can have the storage open, whoever sees it when it is.
        """
        if not (self._runs_jobs() and self.runs(options.queue)):
            return None
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
        """Tell whether this process has to do with a job after its commit."""
        if incarnation is not None:
            return True
        return self.sends(options.queue) and not self._is_far(due)

    def hand_over(
        self, jobs: Iterable[AssignedJob], assigned_jobs: AssignedJobs
    ) -> None:
        """Have jobs run that were committed, here or elsewhere."""
        own = []
        for job in jobs:
            if job.fence.runner is not None:
                own.append(job)
            elif self.needs_handing_over(None, job.due, job.options):
                self.send(job)
        if own:
            assigned_jobs.assign(own)

    def submit(self, jobs: list[AssignedJob]) -> None:
        """Have threads of this process run jobs."""
        submit(self.engine, jobs)

    def send(self, job: AssignedJob) -> None:
        """Send others word of a job."""
        self._remote.send(
            job.sid,
            queue=job.options.queue,
            due=job.due,
            priority=job.options.priority,
        )

    def count(self, queue: str, tell: Callable[[int], None]) -> None:
        """Have *tell* told how much word waits in a queue, if possible."""
        self._remote.count(queue, tell)

    def unsent(self) -> int:
        """Count the jobs that word is to be sent of."""
        return int(self._remote.unsent()) if self._remote is not None else 0
