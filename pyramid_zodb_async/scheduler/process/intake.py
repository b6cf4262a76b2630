"""Changes of the assigned jobs when a transaction commits."""

from typing import Any, Protocol

from ...jobs.model import JobState
from ...jobs.options import NO_OPTIONS, Options
from ..records import Record
from ..transaction_changes import CertainChange
from .assigned_jobs import AssignedJob, AssignedJobs

__all__ = ["Drop", "HandOff", "option_values"]


class _Accepts(Protocol):
    def committed(self, assigned: AssignedJob) -> None:
        """Take note of a job whose transaction has committed."""


class HandOff(CertainChange):
    """A job that goes to an engine after the commit of its record.

    It is added to the changes of the transaction before the job exists, so
    that a full queue refuses the job before anything is written.

    Args:
        scheduler: gets the job when the transaction commits.
        is_new: whether the job counts as pending from now on.
    """

    def __init__(self, scheduler: _Accepts, *, is_new: bool = True) -> None:
        self.pending_jobs = int(is_new)
        self._is_new = is_new
        self._scheduler = scheduler
        self._job: tuple[AssignedJob, Record] | None = None

    def take(self, sid: str, record: Record) -> None:
        """Set the job, once the queue has accepted it.

        Args:
            sid: the sid of the job.
            record: its record.
        """
        self._job = AssignedJob.of(sid, record, is_new=self._is_new), record

    def apply(self) -> None:
        """Give the job to the scheduler, unless it was removed again."""
        if self._job is None:
            return  # its scheduling has failed after this was added
        assigned, record = self._job
        # The same transaction may have removed or cancelled the job. A ghost
        # (_p_changed is None) must not be loaded in the middle of a commit;
        # its job is handed over, and the fence refuses its run.
        if record._p_changed is None or record.state == JobState.PENDING:
            self._scheduler.committed(assigned)


class Drop(CertainChange):
    """A job that the transaction cancels or removes.

    With the commit it is no longer assigned to this process. A run of it that
    is under way notices that when it asks whether to go on.

    Args:
        jobs: the jobs that are assigned to this process.
        sid: the sid of the job.
    """

    def __init__(self, jobs: AssignedJobs, sid: str) -> None:
        self._jobs = jobs
        self._sid = sid

    def apply(self) -> None:
        """Drop the job."""
        self._jobs.drop(self._sid)


def option_values(options: Options, due: float | None) -> dict[str, Any]:
    """Return the attributes of a new record for the options of its job.

    Args:
        options: the options of the job.
        due: when the job is due, in seconds since the epoch; ``None`` if at
            once.

    Returns:
        The names and values; none for most jobs.
    """
    if options is NO_OPTIONS and due is None:
        return {}
    return {"options": options.stored(), "due": due}
