"""The hand-over of a job when the transaction that wants it commits."""

from collections.abc import Mapping
from typing import Any

from ...jobs.model import JobState
from ...jobs.options import NO_OPTIONS, Options
from ...jobs.owners import loaded_owner
from ...jobs.shared_texts import shared_text
from ..records import JobRecord, StoredJob
from ..stored_job import shared_fence
from ..transaction_changes import CertainChange
from .assigned_job import AssignedJob
from .free_pages import TakenPage
from .this_process import ThisProcess

__all__ = ["HandOff", "is_wanted"]


class HandOff(CertainChange):
    """A job that goes to an engine after the commit of its record.

    It is added to the changes of the transaction before the job exists, so
    that a full queue refuses the job before anything is written. If other
    processes see to the job, nothing is handed over, and this tells only that
    the transaction schedules it.

    Args:
        process: this process.
        is_new: whether the job counts as pending from now on.
    """

    #: The record of the job, and the job with the fence of that record;
    #: ``None`` until the job is in the store.
    record: JobRecord | None = None
    job: AssignedJob | None = None
    #: The page that was made ahead for it.
    page: TakenPage | None = None

    def __init__(self, process: ThisProcess, *, is_new: bool) -> None:
        self.pending_jobs = int(is_new)
        self._process = process

    def complete(
        self, job: StoredJob, values: Mapping[str, Any], due: float | None
    ) -> None:
        """Have the commit hand over a new job that is in the store now.

        Args:
            job: the job.
            values: the attributes of its record, and of the page of its
                block. To read them there takes many times the work.
            due: when it is due; maybe the end of a pause.
        """
        self.record = job.record
        self.job = _assigned(job, values, is_new=due is None)
        if due is not None:
            self.job.wait_until(due)

    def apply(self) -> None:
        """Hand the job over, unless it was removed again."""
        record = self.record
        if record is None or self.job is None:
            return  # its scheduling has failed, or others see to it
        if is_wanted(record):
            if self.job.fence.runner is None:  # others are to run it
                self.job.note_serial(record)
            self._process.assigned_jobs.expect(self.pending_jobs)
            self._process.commit_queue.add_job(self.job)

    def abandon(self) -> None:
        """Give the page back, which nothing was written to."""
        if self.page is not None:
            self._process.free_pages.give_back(self.page)
            self.page = None

    def leave_in_doubt(self) -> None:
        """Have the maintenance find out whether there is a job."""
        if self.sid is not None:  # pragma: no branch - else there is none
            self._process.settle_soon(self.sid)


def _assigned(
    job: StoredJob, values: Mapping[str, Any], *, is_new: bool
) -> AssignedJob:
    """Return what ``AssignedJob.of()`` returns for a job that is new."""
    owner, options = values.get("owner"), values.get("options")
    base_url = values["base_url"]
    return AssignedJob(
        is_new=is_new,
        sid=job.sid,
        function=shared_text(values["function"]),
        owner=owner and loaded_owner(owner, values["owner_kind"]),
        base_url=base_url and shared_text(base_url),
        attempt=1,
        # that of the first one for all jobs of a block
        scheduled=job.definition.scheduled,
        fence=shared_fence(JobRecord.state, values["runner"], 0),
        options=Options.load(options) if options else NO_OPTIONS,
        due=values.get("due"),
    )


def is_wanted(record: JobRecord) -> bool:
    """Return whether a job is to run of which the transaction commits.

    The same transaction may have removed or cancelled it. A ghost must not be
    loaded in the middle of a commit; its job is handed over, and the fence
    refuses its run.

    Args:
        record: the record of the job.
    """
    return record._p_changed is None or record.state == JobState.PENDING
