"""What a commit does to the jobs that a process has in memory."""

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
    """A job that goes to the engine after the commit.

    Args:
        scheduler: takes it.
        is_new: whether it takes up a place in the queue.
    """

    def __init__(self, scheduler: _Accepts, *, is_new: bool = True) -> None:
        self.pending_jobs = int(is_new)
        self._is_new = is_new
        self._scheduler = scheduler
        self._job: tuple[AssignedJob, Record] | None = None

    def take(self, sid: str, record: Record) -> None:
        """Be told of the job, when there is a place for it."""
        self._job = AssignedJob.of(sid, record, is_new=self._is_new), record

    def apply(self) -> None:
        """Hand the job over."""
        if self._job is None:
            return
        assigned, record = self._job
        # not one that was removed again, if that can be told without loading
        if record._p_changed is None or record.state == JobState.PENDING:
            self._scheduler.committed(assigned)


class Drop(CertainChange):
    """A job that ends with the commit is no job of this process any more."""

    def __init__(self, jobs: AssignedJobs, sid: str) -> None:
        self._jobs = jobs
        self._sid = sid

    def apply(self) -> None:
        """Let go of it."""
        self._jobs.drop(self._sid)


def option_values(options: Options, due: float | None) -> dict[str, Any]:
    """Give what a record has of them, which is nearly always nothing."""
    if options is NO_OPTIONS and due is None:
        return {}
    return {"options": options.stored(), "due": due}
