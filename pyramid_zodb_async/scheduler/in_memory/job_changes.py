"""A job in memory as a transaction sees and changes it."""

from typing import Any

from zope.interface import implementer

from ...contracts import ITransactionJob
from ...events import JobRetried, JobWasCancelled
from ...exceptions import ArgumentNotTransferable, JobCancelled
from ...interfaces import Connections
from ...jobs.bulk import name_call
from ...jobs.current_job import running_job
from ...jobs.model import JobState, JobView
from ...transfer.failures import loaded_exception
from ..commit_queue import CANCEL, REMOVAL
from ..transaction_changes import CertainChange
from .call import Call
from .job import Job, load, view_of
from .jobs_in_memory import JobsInMemory

__all__ = ["MemoryJob", "Scheduling"]


class Scheduling(CertainChange):
    """A job that exists from the commit of its transaction on.

    Args:
        jobs: the jobs in memory, to which it is added then.
        job: the job.
        call: its call.
        index: the index of that in a bulk, for errors, if it is in one.
    """

    def __init__(
        self,
        jobs: JobsInMemory,
        job: Job,
        call: Call,
        index: int | None = None,
    ) -> None:
        self.pending_jobs = int(job.due is None)
        self._jobs = jobs
        self.job = job
        self.sid = job.sid
        self._call = call
        self._index = index

    def prepare(self) -> None:
        """Make the call loadable.

        In the commit: new persistent objects among the arguments have their
        oids only now.
        """
        try:
            self.job.call = self._call.loadable()
        except ArgumentNotTransferable as error:
            if self._index is not None:
                name_call(self._index, error)
            raise

    def apply(self) -> None:
        """Add the job."""
        self._jobs.accept(self.job)


class _Removal(CertainChange):
    """A job that is removed with the commit: its outcome was fetched."""

    def __init__(self, jobs: JobsInMemory, sid: str) -> None:
        self._jobs = jobs
        self._sid = sid

    def apply(self) -> None:
        self._jobs.table.forget(self._sid)


@implementer(ITransactionJob)
class MemoryJob:
    """See :class:`~pyramid_zodb_async.contracts.ITransactionJob`.

    Args:
        jobs: the jobs in memory.
        job: a copy of the job, or the job if it is not committed yet.
        connections: those of the transaction.
        scheduling: the change of this transaction that schedules the job;
            ``None`` if it is committed.
    """

    def __init__(
        self,
        jobs: JobsInMemory,
        job: Job,
        connections: Connections,
        scheduling: Scheduling | None = None,
    ) -> None:
        self._jobs = jobs
        self._job = job
        self._connections = connections
        self._scheduling = scheduling
        self.sid = job.sid
        self.owner = job.owner

    @property
    def done(self) -> bool:
        """See :class:`~pyramid_zodb_async.contracts.ITransactionJob`."""
        return self._job.state.done

    def view(self) -> JobView:
        """See :class:`~pyramid_zodb_async.contracts.ITransactionJob`."""
        return view_of(self._job, self._connections)

    def fetch(self) -> tuple[Any, BaseException | None] | bool:
        """See :class:`~pyramid_zodb_async.contracts.ITransactionJob`."""
        job = self._job
        if not job.state.done:
            return False
        manager = self._connections.transaction_manager
        self._jobs.changes.of(manager).add(_Removal(self._jobs, job.sid))
        if job.state is JobState.CANCELLED:
            return None, JobCancelled(f"The job {job.sid} was cancelled")
        if job.exception is not None:
            return None, loaded_exception(job.exception)
        return load(job.value, self._connections), None

    def remove(self) -> None:
        """See :class:`~pyramid_zodb_async.contracts.ITransactionJob`."""
        if self._discard():
            return
        # First the table, then the engine: a worker that has got the sid
        # already finds that the job is gone when it claims the job.
        self._jobs.table.forget(self.sid)
        self._jobs.withdraw(self.sid)
        if not self.done:
            self._jobs.commit_queue.add_line(
                REMOVAL, self.sid, self._job.function
            )
            self._work_off()

    def _discard(self) -> bool:
        """Return whether it was not committed yet, and is not to be."""
        if self._scheduling is None:
            return False
        manager = self._connections.transaction_manager
        self._jobs.changes.of(manager).discard(self._scheduling)
        return True

    def cancel(self) -> JobView | None:
        """See :class:`~pyramid_zodb_async.contracts.ITransactionJob`."""
        if self._discard():
            return self.view()
        # First the table, as in remove(). It returns a copy, so the event
        # shows the job as it was when it was cancelled.
        job = self._jobs.table.cancel(self.sid)
        if job is None:
            return None
        self._jobs.withdraw(self.sid)
        self._jobs.note(JobWasCancelled, job)
        self._jobs.commit_queue.add_line(CANCEL, job.sid, job.function)
        self._work_off()
        return view_of(job, None)

    def _work_off(self) -> None:
        """Tell of the end, unless a run of the job itself has caused it."""
        running = running_job()
        if running is None or running.sid != self.sid:
            self._jobs.work_off()  # else when the run's transaction is over

    def retry(self) -> JobView | None:
        """See :class:`~pyramid_zodb_async.contracts.ITransactionJob`."""
        job = self._jobs.table.retry(self.sid)
        if job is None:
            return None
        self._jobs.note(JobRetried, job)
        self._jobs.run_again(job)
        return view_of(job, None)
