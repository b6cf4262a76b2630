"""This process as one that schedules and runs the jobs of a store."""

import secrets
from collections.abc import Callable

from ..commit_queue import CommitQueue
from ..store.location import StoreLocation
from ..transaction_changes import OpenChanges
from ..waiters import Waiters
from .assigned_jobs import AssignedJob, AssignedJobs
from .dispatch import Dispatcher

__all__ = ["ThisProcess"]


class ThisProcess:
    """What the parts of a scheduler in one process have in common.

    Those are its runs, the stored jobs of its transactions, and its
    maintenance.

    Args:
        location: where the store is.
        timeout: for how long an outcome that is not fetched is stored, in
            seconds; ``None`` if the store has a ``timeout`` of its own.
        max_pending: how many jobs of this process may wait to be run.
        attempts: how many attempts at a job may fail, or end their process,
            if its options set no number.
        lease: after how many seconds without a sign of life the jobs of
            another process are taken over.
    """

    def __init__(
        self,
        location: StoreLocation,
        *,
        timeout: float | None,
        max_pending: int,
        attempts: int,
        lease: float,
    ) -> None:
        self.location = location
        self.timeout = timeout
        self.max_pending = max_pending
        self.attempts = attempts
        self.lease = lease
        #: The identity of this process as one that runs jobs.
        self.incarnation = secrets.token_hex(6)
        self.waiters = Waiters()
        self.assigned_jobs = AssignedJobs(self.waiters)
        self.dispatcher = Dispatcher(
            location, self.incarnation, lease, self.assigned_jobs
        )
        self.commit_queue: CommitQueue[AssignedJob] = CommitQueue(
            self.dispatcher.hand_over
        )
        self.changes = OpenChanges(self.commit_queue.work_off)
        #: Whether other processes can have the storage open; known when the
        #: maintenance starts.
        self.is_shared = False
        #: Whether the log has said that other processes run what this one
        #: schedules.
        self.has_told_of_left = False
        #: The sids of running jobs whose records are to be checked.
        self.to_check: set[str] = set()
        #: The numbers of slices in which jobs have ended here.
        self.slices_to_check: set[int] = set()
        #: Whether the newest slice has so many unfinished jobs that another
        #: one is to be opened.
        self.is_newest_slice_full = False
        #: Wakes the maintenance, if that is running; set by the maintenance.
        self.wake_maintenance: Callable[[], None]

    def check_soon(self, sid: str) -> None:
        """Have the database checked soon for a job of this process.

        Without that, the process would not notice that another one has
        cancelled the job or taken it over.

        Args:
            sid: the sid of the job.
        """
        if self.is_shared and sid not in self.to_check:
            self.to_check.add(sid)
            self.wake_maintenance()
