"""What the runs of both schedulers have in common."""

import abc
from typing import Any

from ..exceptions import JobCancelled, JobError, ResultNotTransferable
from .runnable_job import RunnableJob

__all__ = ["BaseRun"]


class BaseRun(abc.ABC):
    """A run that is told to stop when it has ended or takes too long.

    Args:
        job: the job, whose run begins.
    """

    def __init__(self, job: RunnableJob) -> None:
        self._out_of_time: JobError | None = None
        self._runnable = job
        self.sid = job.sid
        self.attempt = job.attempt
        self.conflicts = job.conflicts
        self.failures = job.failures
        self.options = job.options
        self.owner = job.owner
        self.base_url = job.base_url
        self.function = job.function
        self.doubt: Any = None

    @abc.abstractmethod
    def has_ended(self) -> bool:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""

    def time_out(self, reason: JobError) -> None:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        self._out_of_time = reason

    def stop_reason(self) -> JobError | None:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        if self._out_of_time is None and self.has_ended():
            return self._cancelled()
        return self._out_of_time

    def count_refusal(self) -> int:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        self._runnable.refusals += 1
        return self._runnable.refusals

    def keep_doubt(self, doubt: Any) -> None:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        self.doubt = doubt

    def _cancelled(self) -> JobError:
        return JobCancelled(f"The job {self.sid} is not to be run any more")

    def _not_transferable(self, error: Exception) -> JobError:
        """Return the error for a result that cannot be stored."""
        return ResultNotTransferable(
            f"The result of {self.function}() cannot be kept: {error}"
        )
