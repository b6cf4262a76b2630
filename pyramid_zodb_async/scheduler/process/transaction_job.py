"""What a transaction can do with a job that is in the database."""

from typing import Any, Protocol

from ...events import JobEvent, JobRetried, JobWasCancelled
from ...exceptions import JobCancelled
from ...interfaces import Connections
from ...jobs.model import JobState
from ...jobs.options import Options
from ...transfer.failures import loaded_exception
from ..event_queue import News
from ..records import Record, Store
from ..store.location import Place
from ..store.transitions import End, cancel, forget, kept_for, revive
from ..transaction_changes import Changes, OpenChanges
from .assigned_jobs import Held, HeldJobs
from .dispatch import Routes
from .intake import Drop, HandOff
from .progress_reports import report_of
from .views import Result, view_of_record

__all__ = ["StoredJob"]


class _Scheduler(Protocol):
    """What a job asks of its scheduler."""

    place: Place
    held: HeldJobs
    changes: OpenChanges
    news: News
    routes: Routes

    def timeout_of(self, store: Store) -> float:
        """Tell for how long an outcome is kept, in seconds."""

    def committed(self, held: Held) -> None:
        """Take note of a job whose transaction has committed."""


class StoredJob:
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
        place = self._scheduler.place
        value = Result(place, record, self._connections)()
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
        end = End.now(kept_for(record, self._scheduler.timeout_of(store)))
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
        routes = self._scheduler.routes
        runner = routes.runner_for(None, options)
        revive(self._store(), self._sid, record.fence, runner)
        if routes.needs_handing_over(runner, None, options):
            hand_off = HandOff(self._scheduler, is_new=False)
            self._changes().add(hand_off)
            hand_off.take(self._sid, record)
        self.tell(JobRetried)
        return True

    def tell(self, kind: type[JobEvent]) -> None:
        """Tell of an event when the transaction has committed."""
        self._scheduler.news.put_with(
            self._changes,
            kind,
            lambda: view_of_record(self._sid, self._record),
        )

    def _drop(self) -> None:
        self._changes().add(Drop(self._scheduler.held, self._sid))

    def _history(self, store: Store) -> dict[str, Any]:
        """Tell what the record has to know of a run that is under way."""
        held = self._scheduler.held.get(self._sid)
        if held is not None and held.fence == self._record.fence:
            return held.history()
        report = report_of(store, self._sid, self._record)
        return report.history() if report else {}

    def _store(self) -> Store:
        place = self._scheduler.place
        return place.make(self._connections.to(place.db))

    def _changes(self) -> Changes:
        manager = self._connections.transaction_manager
        return self._scheduler.changes.of(manager)
