"""The run of a job in memory, and the ways in which it ends."""

import copy
from typing import Any, Protocol

from zope.interface import implementer

from ...exceptions import (
    JobCancelled,
    JobError,
    NotTransferable,
    ResultNotTransferable,
)
from ...interfaces import Connections, IRun
from ...jobs.model import Failure, JobView, Progress
from ...transfer.references import Dumped, dump
from ..transaction_changes import OpenChanges
from .job import Job, view_of
from .table import JobTable

__all__ = ["MemoryRun"]


class _Scheduler(Protocol):
    """The parts of a scheduler that a run uses."""

    table: JobTable
    changes: OpenChanges

    def submit(self, job: Job) -> None:
        """Have the engine run a job once more."""


@implementer(IRun)
class MemoryRun:
    """See :class:`~pyramid_zodb_async.interfaces.IRun`.

    The table compares the run number before each change, so a run that was
    cancelled, or whose job was retried meanwhile, changes nothing.

    Args:
        scheduler: the scheduler of the job.
        job: the job, which the table has just set to running.
    """

    def __init__(self, scheduler: _Scheduler, job: Job) -> None:
        self._scheduler = scheduler
        self._table = scheduler.table
        self._job = job
        self._number = job.run_number
        self._out_of_time: JobError | None = None
        self.sid = job.sid
        self.attempt = job.attempt
        self.conflicts = job.conflicts
        self.failures = job.failures
        self.options = job.options
        self.owner = job.owner
        self.base_url = job.base_url
        self.function = job.function
        self.call = job.call

    def report(self, progress: Progress) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IRun`."""
        self._table.report(self._job, self._number, progress)

    def stop_reason(self) -> JobError | None:
        """See :class:`~pyramid_zodb_async.interfaces.IRun`."""
        if self._out_of_time is not None:
            return self._out_of_time
        if self.has_ended():
            return JobCancelled(
                f"The job {self.sid} is not to be run any more"
            )
        return None

    def has_ended(self) -> bool:
        """See :class:`~pyramid_zodb_async.interfaces.IRun`."""
        return not self._table.is_current(self._job, self._number)

    def time_out(self, reason: JobError) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IRun`."""
        self._out_of_time = reason

    def succeed(self, value: Any, connections: Connections) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IRun`."""
        if self._out_of_time is not None:
            raise self._out_of_time
        changes = self._scheduler.changes.of(connections.transaction_manager)
        changes.add(_Success(self, value, connections))

    def begin_commit(self) -> bool:
        """Make cancels wait until the commit has ended.

        Returns:
            Whether the run may commit; it may not if it was cancelled.
        """
        return self._table.begin_commit(self._job, self._number)

    def abort_commit(self) -> None:
        """Record that the commit has failed: the job can be cancelled."""
        self._table.abort_commit(self._job, self._number)

    def has_succeeded(self, value: Dumped) -> None:
        """Record that the effects of the job are committed.

        Args:
            value: what it returned, pickled.
        """
        self._table.succeed(self._job, self._number, value)

    def fail(self, failure: Failure, exception: bytes) -> bool:
        """See :class:`~pyramid_zodb_async.interfaces.IRun`."""
        return self._table.fail(self._job, self._number, failure, exception)

    def retry(self, due: float) -> bool:
        """See :class:`~pyramid_zodb_async.interfaces.IRun`."""
        is_current = self._table.try_again(self._job, self._number, due)
        if is_current:
            self._scheduler.submit(self._job)
        return is_current

    def view(self) -> JobView:
        """See :class:`~pyramid_zodb_async.interfaces.IRun`."""
        return view_of(copy.copy(self._job), None)

    def release(self, *, counts: bool = True) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IRun`."""
        self._table.release(self._job, self._number, counts=counts)

    def give_back(self) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IRun`."""
        # there are no other processes
        self.release(counts=False)

    def leave(self) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IRun`."""
        # nothing to do: the table refuses what this run still does

    def close(self) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IRun`."""
        # nothing to do: the table has recorded the outcome already


class _Success:
    """The success of a job, which is recorded with the commit of its effects.

    Other participants commit between ``prepare()`` and ``apply()``. In this
    time the job must not be cancelled, so ``prepare()`` marks it. If the
    transaction fails, ``abandon()`` removes the mark.
    """

    pending_jobs = 0

    def __init__(
        self, run: MemoryRun, value: Any, connections: Connections
    ) -> None:
        self._run = run
        self._value = value
        self._connections = connections
        self._dumped: Dumped

    def prepare(self) -> None:
        # First the mark: a cancel after this check would come too late. If
        # dump() raises, the transaction calls abandon().
        if not self._run.begin_commit():
            raise JobCancelled(
                f"The job {self._run.sid} is not to be run any more"
            )
        try:
            self._dumped = dump(self._value, self._connections)
        except NotTransferable as error:
            raise ResultNotTransferable(
                f"The result of {self._run.function}() cannot be kept: {error}"
            ) from error

    def abandon(self) -> None:
        self._run.abort_commit()

    def apply(self) -> None:
        self._run.has_succeeded(self._dumped)
