"""A stored job as a transaction sees and changes it."""

from collections.abc import Callable
from typing import Any, TypeVar

from ZODB.Connection import Connection
from zope.interface import implementer

from ...contracts import ITransactionJob
from ...database.connections import JarConnections
from ...database.own_transaction import in_own_transaction
from ...events import JobEvent, JobRetried, JobWasCancelled
from ...exceptions import JobCancelled, JobUndone
from ...interfaces import Connections
from ...jobs.current_job import running_job
from ...jobs.model import JobState, JobView
from ...jobs.options import NO_OPTIONS, Options
from ...jobs.owners import loaded_owner
from ...transfer.failures import loaded_exception
from ..commit_queue import CANCEL, REMOVAL, LogLine
from ..contents import Outcome
from ..records import Store, StoredJob
from ..store.transitions import End, can_revive, finish, forget, revive
from ..transaction_changes import CertainChange, Changes
from .assigned_job import AssignedJob
from .intake import HandOff
from .job_views import Result, view_of, view_of_assigned, view_of_record
from .left_jobs import note_left
from .progress_reports import report_of
from .this_process import ThisProcess

__all__ = ["TransactionJob", "is_hidden"]

T = TypeVar("T")


@implementer(ITransactionJob)
class TransactionJob:
    """See :class:`~pyramid_zodb_async.contracts.ITransactionJob`.

    Changes of the record go through ``StoredJob.change``. They conflict with
    the commit of a run of the job, and with those of other requests: one
    commit wins. What this process has in memory is changed with the commit.

    Args:
        process: this process.
        store: the store, loaded through *connections*.
        job: the job, found in *store*.
        connections: those of the transaction.
        is_apart: whether that is not the transaction of the caller.
    """

    def __init__(
        self,
        process: ThisProcess,
        store: Store,
        job: StoredJob,
        connections: Connections,
        *,
        is_apart: bool = False,
    ) -> None:
        self._process = process
        self._store = store
        self._job = job
        self._record = job.record
        self._connections = connections
        self._is_apart = is_apart
        self.sid = job.sid
        given = job.definition
        self.owner = given.owner and loaded_owner(
            given.owner, given.owner_kind
        )

    @property
    def done(self) -> bool:
        """See :class:`~pyramid_zodb_async.contracts.ITransactionJob`."""
        return self._record.state != JobState.PENDING

    def view(self) -> JobView:
        """See :class:`~pyramid_zodb_async.contracts.ITransactionJob`."""
        record, process = self._record, self._process
        report = None
        if record.state == JobState.PENDING:
            assigned = self._assigned()
            if assigned is not None:
                return view_of_assigned(assigned)
            report = report_of(self._job)
            process.notice_undo(self._store, self._job)
        result = Result(process.location, record, self._connections)
        return view_of(self._job, report, result)

    def _assigned(self) -> AssignedJob | None:
        """Return the job in memory, if it is as this transaction sees it."""
        assigned = self._process.assigned_jobs.get(self.sid)
        if assigned is None or assigned.fence != self._job.fence:
            return None
        return assigned

    def fetch(self) -> tuple[Any, BaseException | None] | bool:
        """See :class:`~pyramid_zodb_async.contracts.ITransactionJob`."""
        record = self._record
        if record.state == JobState.PENDING:
            return False
        outcome, error = record.outcome, None
        has_failed = record.state == JobState.FAILED
        if has_failed and isinstance(outcome, Outcome) and outcome.exception:
            error = loaded_exception(outcome.exception)
        elif record.state == JobState.CANCELLED:
            error = (
                JobUndone(f"What the job {self.sid} did was undone")
                if record.error
                else JobCancelled(f"The job {self.sid} was cancelled")
            )
        # before forget(), which removes the reference to the outcome
        value = Result(self._process.location, record, self._connections)()
        forget(self._job, self._job.fence)
        return value, error

    def remove(self) -> None:
        """See :class:`~pyramid_zodb_async.contracts.ITransactionJob`."""
        if self._is_own():
            self._change_apart(TransactionJob.remove)
            return
        removals = self._process.removals
        is_written_later = self._process.dispatcher.runs_jobs
        if self.done and is_written_later and not removals.is_full():
            self._changes().add(_Removal(self._process, self._job))
            return
        # before forget(), which removes the name
        function = self._job.definition.function or ""
        end = REMOVAL if self._record.state == JobState.PENDING else None
        forget(self._job, self._job.fence)
        self._drop(function, end)

    def cancel(self) -> JobView | None:
        """See :class:`~pyramid_zodb_async.contracts.ITransactionJob`."""
        if self._is_own():
            view = self._change_apart(TransactionJob.cancel)
            if view is not None:
                # delivered when the transaction of the run is over
                self._process.commit_queue.add_event(
                    JobWasCancelled, lambda: view
                )
            return view
        job, given = self._job, self._job.definition
        if self._record.state != JobState.PENDING:
            return None
        options = NO_OPTIONS
        if given.options:
            options = Options.load(given.options)
        timeout = self._store.outcome_timeout(options, self._process.timeout)
        finish(
            job,
            job.fence,
            JobState.CANCELLED,
            End.now(timeout),
            **self._history(),
        )
        # after the record has changed: the event shows the cancelled job
        self._drop(given.function or "", CANCEL)
        if not self._is_apart:
            self.announce(JobWasCancelled)
        return view_of_record(job)

    def retry(self) -> JobView | None:
        """See :class:`~pyramid_zodb_async.contracts.ITransactionJob`."""
        record, process = self._record, self._process
        if not can_revive(record):
            return None
        options = Options.load(self._job.definition.options)
        incarnation, is_handed_over = process.dispatcher.assign(None, options)
        revive(self._job, self._job.fence, incarnation)
        if is_handed_over:
            hand_off = HandOff(process, is_new=False)
            self._changes().add(hand_off)
            # after revive(): the run needs the new fence of the record
            hand_off.record = record
            hand_off.job = AssignedJob.of(self._job)
        else:
            note_left(process, self._connections, self._job)
        self.announce(JobRetried)
        return view_of_record(self._job)

    def announce(self, kind: type[JobEvent]) -> None:
        """Have an event delivered when the transaction has committed.

        Args:
            kind: the class of the event. Its view shows the job as it is now.
        """
        self._process.commit_queue.add_event_on_commit(
            self._changes,
            kind,
            lambda: view_of_record(self._job),
        )

    def _is_own(self) -> bool:
        """Return whether the run of this job calls, in its transaction."""
        if self._is_apart:
            return False
        running = running_job()
        return running is not None and running.sid == self.sid

    def _change_apart(
        self, change: Callable[["TransactionJob"], T]
    ) -> T | None:
        """Make a change of the job that this code is a part of.

        As a part of the job's own transaction, it would be committed with the
        effects of the job, of which none must be left. Committed before that,
        it makes the commit of the run conflict.

        Args:
            change: makes the change of the job in another transaction.

        Returns:
            What *change* returns; ``None`` if there is no such job any more.
        """
        process = self._process

        def work(connection: Connection) -> T | None:
            store = process.location.find(connection)
            job = store.locate(self.sid) if store else None
            if store is None or job is None:
                return None
            own = JarConnections(connection)
            return change(
                TransactionJob(process, store, job, own, is_apart=True)
            )

        return in_own_transaction(
            process.location.db, work, f"job {self.sid} ends itself"
        )

    def _drop(self, function: str, end: LogLine | None) -> None:
        self._changes().add(_Drop(self._process, self._job, function, end))

    def _history(self) -> dict[str, Any]:
        """Return the attributes of the record that describe the present run.

        If another process runs the job, they come from its last report.
        """
        assigned = self._assigned()
        if assigned is not None:
            return assigned.history()
        report = report_of(self._job)
        return report.history() if report else {}

    def _changes(self) -> Changes:
        manager = self._connections.transaction_manager
        return self._process.changes.of(manager)


class _Removal(CertainChange):
    """An ended job that the transaction removes, without a write of its own.

    This process shows it to nobody from the commit on, and the maintenance
    writes that it is forgotten.
    """

    def __init__(self, process: ThisProcess, job: StoredJob) -> None:
        self._process = process
        self.job = job.sid
        self._place = job.place
        self._run_number = job.run_number

    def apply(self) -> None:
        process = self._process
        is_first = process.removals.note(
            self.job, self._place, self._run_number
        )
        process.waiters.wake(self.job)
        if is_first:
            process.wake_maintenance()


def is_hidden(
    process: ThisProcess, job: StoredJob, connections: Connections
) -> bool:
    """Return whether a transaction sees a job no more that it has found.

    Args:
        process: this process.
        job: the job.
        connections: those of the transaction, which may remove it.
    """
    if job.record.expires is None:
        return False  # it has not ended
    return process.shows_no_more(job) or any(
        isinstance(change, _Removal) and change.job == job.sid
        for change in process.changes.known(connections.transaction_manager)
    )


class _Drop(CertainChange):
    """A job that the transaction cancels or removes.

    With the commit it is no longer assigned to this process. A run of it that
    is under way notices that when it asks whether to go on.
    """

    def __init__(
        self,
        process: ThisProcess,
        job: StoredJob,
        function: str,
        end: LogLine | None,
    ) -> None:
        self._process = process
        self._sid = job.sid
        self._slice = job.place.number
        self._function = function
        self._end = end

    def apply(self) -> None:
        self._process.assigned_jobs.drop(self._sid)
        self._process.settle_soon(self._sid)
        self._process.slices_to_check.add(self._slice)
        if self._end is not None:
            self._process.commit_queue.add_line(
                self._end, self._sid, self._function
            )
