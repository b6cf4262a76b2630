"""What a transaction can do with a job that is in the database."""

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
from .progress_reports import report_of
from .views import Result, view_of_record

__all__ = ["TransactionJob", "refuse_own"]


class _Scheduler(Protocol):
    """What a job asks of its scheduler."""

    location: StoreLocation
    assigned_jobs: AssignedJobs
    changes: OpenChanges
    event_queue: EventQueue
    dispatcher: Dispatcher

    def timeout_of(self, store: Store) -> float:
        """Tell for how long an outcome is kept, in seconds."""

    def committed(self, assigned: AssignedJob) -> None:
        """Take note of a job whose transaction has committed."""


class TransactionJob:
    """A job as a transaction sees it; what is done to it is part of that.

    Args:
        scheduler: whose job it is.
        sid: the id of the job.
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
        """Give the outcome, and forget the job; ``False`` before its end."""
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
        value = Result(location, record, self._connections)()
        forget(self._store(), self._sid, record.fence)
        return value, error

    def remove(self) -> None:
        """Forget it, whether or not it has ended."""
        forget(self._store(), self._sid, self._record.fence)
        self._drop()

    def cancel(self) -> bool:
        """End it; tell whether it had not ended."""
        record = self._record
        if record.state != JobState.PENDING:
            return False
        store = self._store()
        end = End.now(
            outcome_timeout(record, self._scheduler.timeout_of(store))
        )
        cancel(store, self._sid, record.fence, end, **self._history(store))
        self._drop()
        self.tell(JobWasCancelled)
        return True

    def retry(self) -> bool:
        """Have it run again; tell whether it had failed."""
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
            hand_off.take(self._sid, record)
        self.tell(JobRetried)
        return True

    def tell(self, kind: type[JobEvent]) -> None:
        """Tell of an event when the transaction has committed."""
        self._scheduler.event_queue.add_on_commit(
            self._changes,
            kind,
            lambda: view_of_record(self._sid, self._record),
        )

    def _drop(self) -> None:
        self._changes().add(Drop(self._scheduler.assigned_jobs, self._sid))

    def _history(self, store: Store) -> dict[str, Any]:
        """Tell what the record has to know of a run that is under way."""
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
    """Refuse to remove the job that asks for it.

    Its transaction could not both remove it and leave no effects.
    """
    job = running_job()
    if job is not None and job.sid == sid:
        raise JobError(
            f"The job {sid} cannot remove or cancel itself; let it raise an"
            " exception"
        )
