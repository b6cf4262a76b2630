"""The run of a job in memory, and the ways in which it ends."""

import copy
from collections.abc import Callable, Iterable
from typing import Any

from ZODB.DB import DB
from ZODB.POSException import POSKeyError
from zope.interface import implementer

from ...contracts import IRun
from ...database.probes import can_be_read
from ...exceptions import NotTransferable
from ...interfaces import Connections
from ...jobs.model import Failure, JobState, JobView, Progress
from ...transfer.envelopes import Dumped, Envelope, dump, resolved
from ..base_run import BaseRun
from .job import Job, view_of
from .jobs_in_memory import JobsInMemory

__all__ = ["MemoryRun"]


@implementer(IRun)
class MemoryRun(BaseRun):
    """See :class:`~pyramid_zodb_async.contracts.IRun`.

    The table compares the run number before each change, so a run that was
    cancelled, or whose job was retried meanwhile, changes nothing.

    Args:
        jobs: the jobs in memory.
        job: the job, which the table has just set to running.
    """

    def __init__(self, jobs: JobsInMemory, job: Job) -> None:
        super().__init__(job)
        self._jobs = jobs
        self._table = jobs.table
        self._job = job
        self._number = job.run_number
        self._call = job.call

    def load(self, connections: Connections) -> Callable[[], Any]:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        if self._call is None:  # it has ended since its claim
            raise self._cancelled()
        return self._call.load(connections)

    def report(self, progress: Progress) -> None:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        self._table.report(self._job, self._number, progress)

    def has_ended(self) -> bool:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        return not self._table.is_current(self._job, self._number)

    def succeed(self, value: Any, connections: Connections) -> None:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        if self._out_of_time is not None:
            raise self._out_of_time
        try:
            envelope = dump(value, connections)
        except NotTransferable as error:
            raise self._not_transferable(error) from error
        changes = self._jobs.changes.of(connections.transaction_manager)
        changes.add(_Success(self, envelope))

    def begin_commit(self) -> None:
        """Make cancels wait until the commit has ended.

        Raises:
            JobCancelled: the job was cancelled, so the run may not commit.
        """
        if not self._table.begin_commit(self._job, self._number):
            raise self._cancelled()

    def dumped(self, envelope: Envelope) -> Dumped:
        """Return a result in the form that others can load.

        Args:
            envelope: what the job returned.

        Raises:
            ResultNotTransferable: an object in it was not stored.
        """
        try:
            return resolved(envelope)
        except NotTransferable as error:
            raise self._not_transferable(error) from error

    def abort_commit(self) -> None:
        """Record that the commit has failed: the job can be cancelled."""
        self._table.abort_commit(self._job, self._number)

    def has_succeeded(self, value: Dumped) -> None:
        """Record that the effects of the job are committed.

        Args:
            value: what it returned, pickled.
        """
        self._table.succeed(self._job, self._number, value)

    def find_out(self) -> bool | None:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        if not self.has_ended():
            return False
        job = self._job
        # a success is final, and the run number of a job never comes again
        return (
            job.state is JobState.SUCCEEDED and job.run_number == self._number
        ) or None

    def require_job(self, error: POSKeyError) -> None:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""

    def can_find_out(self, participants: list[Any]) -> bool:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        # what is in memory says nothing of what is in databases
        return False

    def storage_works(self, databases: Iterable[DB]) -> bool:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        # It only reads: there is nothing of this package to write.
        return all(map(can_be_read, databases))

    def fail(
        self, failure: Failure, exception: bytes, *, in_doubt: bool = False
    ) -> bool:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        return self._table.fail(
            self._job, self._number, failure, exception, in_doubt=in_doubt
        )

    def retry(self, due: float) -> bool:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        is_current = self._table.try_again(self._job, self._number, due)
        if is_current:
            self._jobs.run_again(self._job)
        return is_current

    def view(self) -> JobView:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        return view_of(copy.copy(self._job), None)

    def release(self, *, counts: bool = True) -> None:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        self._table.release(self._job, self._number, counts=counts)

    def give_back(self) -> None:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        # there are no other processes
        self.release(counts=False)

    def leave(self) -> None:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        # nothing to do: the table refuses what this run still does

    def note_commit(self) -> bool:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        return self.find_out() is True

    def close(self) -> None:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        # nothing to do: the table has recorded the outcome already


class _Success:
    """The success of a job, which is recorded with the commit of its effects.

    Other participants commit between ``prepare()`` and ``apply()``. In this
    time the job must not be cancelled, so ``prepare()`` marks it. If the
    transaction fails, ``abandon()`` removes the mark. If the commit raises
    when it may have succeeded, the mark stays until the job has failed.
    """

    pending_jobs = 0
    sid: str | None = None

    def __init__(self, run: MemoryRun, envelope: Envelope) -> None:
        self._run = run
        self._envelope = envelope
        self._dumped: Dumped

    def prepare(self) -> None:
        # First the mark: a cancel after this check would come too late. If
        # dumped() raises, the transaction calls abandon().
        self._run.begin_commit()
        self._dumped = self._run.dumped(self._envelope)

    def abandon(self) -> None:
        self._run.abort_commit()

    def leave_in_doubt(self) -> None:
        pass

    def apply(self) -> None:
        self._run.has_succeeded(self._dumped)
