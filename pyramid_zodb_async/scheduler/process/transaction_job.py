"""Changes of a stored job by a request: fetch, remove, cancel and retry."""

from typing import Any, Protocol

from ...events import JobEvent, JobRetried, JobWasCancelled
from ...exceptions import JobCancelled, JobError
from ...interfaces import Connections
from ...jobs.current_job import running_job
from ...jobs.model import JobState
from ...jobs.options import Options
from ...transfer.failures import loaded_exception
from ..event_queue import EventQueue
from ..records import Record, Store
from ..store.location import StoreLocation
from ..store.transitions import End, cancel, forget, outcome_timeout, revive
from ..transaction_changes import Changes, OpenChanges
from .assigned_jobs import AssignedJob, AssignedJobs
from .dispatch import Dispatcher
from .intake import Drop, HandOff
from .job_views import Result, view_of_record
from .progress_reports import report_of

__all__ = ["TransactionJob", "refuse_own"]


class _Scheduler(Protocol):
    """The parts of a scheduler that this module uses."""

    location: StoreLocation
    assigned_jobs: AssignedJobs
    changes: OpenChanges
    event_queue: EventQueue
    dispatcher: Dispatcher

    def timeout_of(self, store: Store) -> float:
        """Return for how many seconds outcomes are stored by default."""

    def committed(self, assigned: AssignedJob) -> None:
        """Record a job for the after-commit hook, during its commit."""


class TransactionJob:
    """A job as a transaction sees it; changes are part of the transaction.

    Changes of the record go through ``Store.change``. They conflict with the
    commit of a run of the job, and with those of other requests: one commit
    wins. What this process has in memory is changed with the commit.

    Args:
        scheduler: the scheduler of the job.
        sid: the sid of the job.
        record: its record, loaded through *connections*.
        connections: those of the transaction.
    """

    def __init__(
        self,
        scheduler: _Scheduler,
        sid: str,
        record: Record,
        connections: Connections,
    ) -> None:
        self._scheduler = scheduler
        self._sid = sid
        self._record = record
        self._connections = connections

    def fetch(self) -> tuple[Any, BaseException | None] | bool:
        """Return the outcome, and remove the job.

        Returns:
            The result and the exception, one of which is ``None``; ``False``
            if the job has not ended, and then it is not removed.
        """
        record = self._record
        if record.state == JobState.PENDING:
            return False
        outcome, error = record.outcome, None
        has_failed = record.state == JobState.FAILED
        if has_failed and outcome is not None and outcome.exception:
            error = loaded_exception(outcome.exception)
        elif record.state == JobState.CANCELLED:
            error = JobCancelled(f"The job {self._sid} was cancelled")
        location = self._scheduler.location
        # before forget(), which removes the reference to the outcome
        value = Result(location, record, self._connections)()
        forget(self._store(), self._sid, record.fence)
        return value, error

    def remove(self) -> None:
        """Remove the job, whether or not it has ended."""
        forget(self._store(), self._sid, self._record.fence)
        self._drop()

    def cancel(self) -> bool:
        """Cancel the job, if it has not ended.

        Returns:
            Whether it had not ended.
        """
        record = self._record
        if record.state != JobState.PENDING:
            return False
        store = self._store()
        end = End.now(
            outcome_timeout(record, self._scheduler.timeout_of(store))
        )
        cancel(store, self._sid, record.fence, end, **self._history(store))
        # after the record has changed: the event shows the cancelled job
        self._drop()
        self.announce(JobWasCancelled)
        return True

    def retry(self) -> bool:
        """Have the job run again, if it has failed.

        Returns:
            Whether it had failed.
        """
        record = self._record
        if record.state != JobState.FAILED:
            return False
        options = Options.load(record.options)
        dispatcher = self._scheduler.dispatcher
        incarnation = dispatcher.incarnation_for(None, options)
        revive(self._store(), self._sid, record.fence, incarnation)
        if dispatcher.needs_handing_over(incarnation, None, options):
            hand_off = HandOff(self._scheduler, is_new=False)
            self._changes().add(hand_off)
            # after revive(): the run needs the new fence of the record
            hand_off.take(self._sid, record)
        self.announce(JobRetried)
        return True

    def announce(self, kind: type[JobEvent]) -> None:
        """Have an event delivered when the transaction has committed.

        Args:
            kind: the class of the event. Its view shows the job as it is now.
        """
        self._scheduler.event_queue.add_on_commit(
            self._changes,
            kind,
            lambda: view_of_record(self._sid, self._record),
        )

    def _drop(self) -> None:
        self._changes().add(Drop(self._scheduler.assigned_jobs, self._sid))

    def _history(self, store: Store) -> dict[str, Any]:
        """Return the attributes of the record that describe the present run.

        If another process runs the job, they come from its last report.
        """
        assigned = self._scheduler.assigned_jobs.get(self._sid)
        if assigned is not None and assigned.fence == self._record.fence:
            return assigned.history()
        report = report_of(store, self._sid, self._record)
        return report.history() if report else {}

    def _store(self) -> Store:
        location = self._scheduler.location
        return location.make(self._connections.to(location.db))

    def _changes(self) -> Changes:
        manager = self._connections.transaction_manager
        return self._scheduler.changes.of(manager)


def refuse_own(sid: str) -> None:
    """Refuse to cancel or remove the job that this code is a part of.

    The change would be a part of the job's own transaction. To be committed,
    it needs that transaction, which must not leave effects.

    Args:
        sid: the sid of the job that is to be cancelled or removed.

    Raises:
        JobError: the caller is that job.
    """
    job = running_job()
    if job is not None and job.sid == sid:
        raise JobError(
            f"The job {sid} cannot remove or cancel itself; let it raise an"
            " exception"
        )
