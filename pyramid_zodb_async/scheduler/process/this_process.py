"""This process as one that schedules and runs the jobs of a store."""

import secrets
import time
from collections import deque
from collections.abc import Callable

from ...concurrency.forks import call_after_fork
from ...jobs.model import JobState
from ..commit_queue import CommitQueue
from ..records import Store, StoredJob
from ..sids import Place
from ..store.location import StoreLocation
from ..transaction_changes import OpenChanges
from ..waiters import Waiters
from .assigned_job import AssignedJob
from .assigned_jobs import AssignedJobs
from .dispatch import Dispatcher
from .free_pages import FreePages
from .open_bulks import OpenBulks
from .removals import Removals

__all__ = ["ThisProcess"]


def _do_nothing() -> None:
    """Stand for the maintenance, until there is one."""


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

    #: Whether other processes can have the storage open; known when the
    #: maintenance starts.
    is_shared = False
    #: Whether the process was told to end at once while it ran a job, which
    #: was given back. It begins no other.
    is_told_to_stop = False
    #: Whether the log has said that other processes run what this one
    #: schedules.
    has_told_of_left = False
    #: Whether the newest slice has so many unfinished jobs that another
    #: one is to be opened.
    is_newest_slice_full = False

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
        #: The sids of jobs that were to run here and have ended, or may have:
        #: who keeps their shards is to see to them. Of those whose success
        #: was committed here, where they are.
        self.to_settle: deque[str | Place] = deque()
        #: The ended jobs that were removed here, until that is written.
        self.removals = Removals()
        #: The pages for the jobs that this process schedules.
        self.free_pages = FreePages(self.incarnation)
        #: The bulks that this process may take jobs of.
        self.bulks = OpenBulks()
        self.assigned_jobs = AssignedJobs(self.waiters, self.to_settle)
        self.dispatcher = Dispatcher(
            location, self.incarnation, lease, self.assigned_jobs
        )
        self.commit_queue: CommitQueue[AssignedJob] = CommitQueue(
            self.dispatcher.hand_over
        )
        self.changes = OpenChanges(self.commit_queue.work_off)
        #: The sids of running jobs whose records are to be checked.
        self.to_check: set[str] = set()
        #: The numbers of slices in which jobs have ended here.
        self.slices_to_check: set[int] = set()
        #: Wakes the maintenance, if that is running; set by the maintenance.
        self.wake_maintenance: Callable[[], None] = _do_nothing
        call_after_fork(self._begin_in_child)

    def _begin_in_child(self) -> None:
        """Be another process than the parent, with none of its jobs.

        Children that open the database again would else take each other's
        jobs for their own, and each other's pages.
        """
        self.incarnation = secrets.token_hex(6)
        self.dispatcher.incarnation = self.incarnation
        self.to_settle.clear()
        self.removals = Removals()
        self.free_pages = FreePages(self.incarnation)
        self.bulks = OpenBulks()
        self.assigned_jobs.reset()

    def ended_places(self) -> set[Place]:
        """Return where jobs are that have succeeded here, and still count.

        The open jobs of their shards have them until the maintenance removes
        them, if this process keeps those. The places are without what signs
        their sids.
        """
        return {
            place._replace(signature=b"")
            for place in self.to_settle.copy()  # in one step
            if isinstance(place, Place)
        }

    def shows_no_more(self, job: StoredJob) -> bool:
        """Return whether a job is shown to nobody, though its record is there.

        Its outcome has expired, or was forgotten here.

        Args:
            job: the job, as a transaction sees it.
        """
        expires = job.record.expires
        return expires is not None and (
            expires <= time.time() or self.removals.has(job)
        )

    def settle_soon(self, sid: str) -> None:
        """Have the maintenance, if it runs, see what has become of a job.

        Args:
            sid: the sid of the job.
        """
        if self.dispatcher.runs_jobs:
            self.to_settle.append(sid)

    def notice_undo(self, store: Store, job: StoredJob) -> None:
        """Have the maintenance, if it runs, see to an end that was undone.

        Somebody has asked for the job. No look finds it by itself when it has
        been removed from the open ones since its end, or is about to be.

        Args:
            store: the store, as a transaction sees it.
            job: a job that is not assigned to this process.
        """
        # the transaction that writes a record knows what it does, and nearly
        # always has just scheduled the job
        if job.record.state != JobState.PENDING or job.record._p_changed:
            return
        has_succeeded = job.place in self.assigned_jobs.succeeded
        if has_succeeded or not store.is_looked_after(job):
            self.settle_soon(job.sid)

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
