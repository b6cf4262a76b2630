"""The hand-over of a job when the transaction that wants it commits."""

from ...jobs.model import JobState
from ..commit_queue import CommitQueue
from ..records import Record
from ..transaction_changes import CertainChange
from .assigned_jobs import AssignedJob, AssignedJobs

__all__ = ["HandOff", "is_wanted"]


class HandOff(CertainChange):
    """A job that goes to an engine after the commit of its record.

    It is added to the changes of the transaction before the job exists, so
    that a full queue refuses the job before anything is written. If other
    processes see to the job, nothing is handed over, and this tells only that
    the transaction schedules it.

    Args:
        commit_queue: gets the job when the transaction commits.
        assigned_jobs: counts the job from then on.
        is_new: whether the job counts as pending from now on.
    """

    #: The record of the job, and the job with the fence of that record;
    #: ``None`` until the job is in the store.
    record: Record | None = None
    job: AssignedJob | None = None

    def __init__(
        self,
        commit_queue: CommitQueue[AssignedJob],
        assigned_jobs: AssignedJobs,
        *,
        is_new: bool,
    ) -> None:
        self.pending_jobs = int(is_new)
        self._commit_queue = commit_queue
        self._assigned_jobs = assigned_jobs

    def apply(self) -> None:
        """Hand the job over, unless it was removed again."""
        record = self.record
        if record is None or self.job is None:
            return  # its scheduling has failed, or others see to it
        if is_wanted(record):
            self._assigned_jobs.expect(self.pending_jobs)
            self._commit_queue.add_job(self.job)


def is_wanted(record: Record) -> bool:
    """Return whether a job is to run of which the transaction commits.

    The same transaction may have removed or cancelled it. A ghost must not be
    loaded in the middle of a commit; its job is handed over, and the fence
    refuses its run.

    Args:
        record: the record of the job.
    """
    return record._p_changed is None or record.state == JobState.PENDING
