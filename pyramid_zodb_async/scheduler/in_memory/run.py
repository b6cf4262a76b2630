"""One attempt at a job that is in memory."""

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
    """What a run asks of the scheduler of its job."""

    table: JobTable
    changes: OpenChanges

    def submit(self, job: Job) -> None:
        """Have a job run once more, at its time."""


@implementer(IRun)
class MemoryRun:
    """See :class:`~pyramid_zodb_async.interfaces.IRun`.

    Args:
        scheduler: where the job is.
        job: the one to run.
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
        """Let nobody cancel it any more; tell whether somebody has."""
        return self._table.begin_commit(self._job, self._number)

    def abort_commit(self) -> None:
        """Let it be cancelled again."""
        self._table.abort_commit(self._job, self._number)

    def has_succeeded(self, value: Dumped) -> None:
        """Take note that its effects are committed."""
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
        # there are no others
        self.release(counts=False)

    def leave(self) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IRun`."""
        # it may cancel nothing and record nothing any more

    def close(self) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IRun`."""
        # the table knows it from the outcome


class _Success:
    """A job that succeeds with the commit of its effects."""

    pending_jobs = 0

    def __init__(
        self, run: MemoryRun, value: Any, connections: Connections
    ) -> None:
        self._run = run
        self._value = value
        self._connections = connections
        self._dumped: Dumped

    def prepare(self) -> None:
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
