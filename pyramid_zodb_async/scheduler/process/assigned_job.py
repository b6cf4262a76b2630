"""A job that is assigned to this process, in its memory."""

from dataclasses import dataclass
from typing import Any

from ZODB.utils import z64

from ...jobs.model import NO_PROGRESS, make_version, stored_progress
from ...jobs.options import NO_OPTIONS, Options
from ...jobs.owners import loaded_owner
from ...jobs.shared_texts import shared_text
from ..records import Fence, JobRecord, StoredJob
from ..runnable_job import RunnableJob

__all__ = ["AssignedJob"]


@dataclass(kw_only=True, slots=True)
class AssignedJob(RunnableJob):
    """A job that this process is to run.

    Its ``attempt`` is the one that is to come or runs.
    """

    #: The state of the record that the run expects whenever it writes.
    fence: Fence
    #: Whether it may have ended its process; see ``Suspects``.
    suspect: bool = False
    #: How often its process ended while it ran.
    crashes: int = 0
    #: Whether it is a suspect that was one of several that ran at a crash.
    alone: bool = False
    #: When a run of it began here first, on the monotonic clock.
    begun: float | None = None
    #: Whether this process has accepted it and not begun to run it.
    is_new: bool = False
    #: The serial of the record of a job without a runner, if nobody has
    #: written that since the job was scheduled: no claim is needed for its
    #: first run. ``None`` for all other jobs.
    serial: bytes | None = None

    @property
    def version(self) -> int:
        """The version of the views that this process makes of the job."""
        return make_version(self.fence.run_number, changes=self.changes)

    @property
    def runs_alone(self) -> bool:
        """Whether no other suspect may run beside it."""
        return self.alone or self.crashes > 0

    @property
    def may_batch(self) -> bool:
        """Whether it waits, and one transaction may have it and others."""
        return (
            self.options.batched
            and self.started is None
            and not (self.is_single or self.suspect)
        )

    def note_serial(self, record: JobRecord) -> None:
        """Have a new job run without a claim, if a message is sent for it.

        The message for one that is due later is sent by several processes.

        Args:
            record: its record, which the transaction that schedules the job
                has just committed, or which was not written since.
        """
        _, runner, number = self.fence
        if runner is not None or number or self.due is not None:
            return
        # a ghost has none
        if record._p_changed is not None and record._p_serial != z64:
            self.serial = record._p_serial

    def is_as_before(self, job: StoredJob) -> bool:
        """Return whether a record is as the run of this job expects it.

        A run without a claim expects that nobody has written the record. Its
        fence alone would not tell if an end of another such run was undone.

        Args:
            job: the job, as a transaction sees it, which has not written it.
        """
        return job.fence == self.fence and (
            self.serial is None or job.record._p_serial == self.serial
        )

    def history(self) -> dict[str, Any]:
        """Return the attributes of the record that describe the run.

        They are written only when the job ends, since writes during a run
        would conflict with its own commit. Without a run there are none.
        """
        if self.started is None:
            return {}
        return {
            "attempt": self.attempt,
            "started": self.started,
            **(
                stored_progress(self.progress)
                if self.progress
                else NO_PROGRESS
            ),
        }

    @classmethod
    def of(cls, job: StoredJob, *, is_new: bool = False) -> "AssignedJob":
        """Return the job of a record.

        Args:
            job: the job, whose record has its fence from now on. If this
                transaction has changed the record, the result must not be
                used before the commit has succeeded.
            is_new: whether the job counts as accepted and not begun.
        """
        record, given = job.record, job.definition
        return cls(
            is_new=is_new,
            sid=job.sid,
            function=shared_text(given.function or ""),
            owner=given.owner and loaded_owner(given.owner, given.owner_kind),
            base_url=given.base_url and shared_text(given.base_url),
            attempt=record.attempt + 1,
            scheduled=given.scheduled,
            fence=job.fence,
            options=(
                Options.load(given.options) if given.options else NO_OPTIONS
            ),
            due=job.due,
            failures=record.failures,
            suspect=job.suspect,
            crashes=record.crashes,
            alone=record.alone,
        )
