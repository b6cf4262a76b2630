"""Makes the views of stored jobs, from the database or from memory."""

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

from ...exceptions import NotTransferable
from ...interfaces import Connections
from ...jobs.class_paths import stored_at
from ...jobs.model import Failure, JobState, JobView, Progress, make_version
from ...jobs.options import NO_OPTIONS, Options
from ...jobs.owners import loaded_owner
from ...transfer.broken_classes import refuse_broken
from ...transfer.envelopes import Dumped, Envelope, resolved
from ..contents import load_contents
from ..records import JobRecord, Outcome, StoredJob
from ..store.location import StoreLocation
from ..store.transitions import End
from .assigned_job import AssignedJob
from .progress_reports import ProgressReport

__all__ = [
    "Result",
    "version_of",
    "view_of",
    "view_of_assigned",
    "view_of_ended",
    "view_of_record",
]


def view_of_assigned(assigned: AssignedJob) -> JobView:
    """Return the view of a job that is assigned to this process.

    Args:
        assigned: the job, which has not ended.
    """
    # First the version: what changes meanwhile shows in a newer view as well.
    version = assigned.version
    is_running = assigned.started is not None
    return JobView(
        sid=assigned.sid,
        state=JobState.RUNNING if is_running else JobState.PENDING,
        function=assigned.function,
        owner=assigned.owner,
        # a pending job shows the attempt before the one that is to come
        attempt=assigned.attempt if is_running else assigned.attempt - 1,
        progress=assigned.progress if is_running else None,
        scheduled_at=assigned.scheduled,
        due_at=None if is_running else assigned.due,
        started_at=assigned.started,
        options=assigned.options,
        version=version,
        load_result=_nothing,
    )


def view_of_ended(
    assigned: AssignedJob,
    started: float | None,
    state: JobState,
    end: End,
    failure: Failure | None,
) -> JobView:
    """Return the view of a job that its run has ended, for an event.

    Args:
        assigned: the job, which may have been dropped meanwhile.
        started: when the run began, in seconds since the epoch.
        state: how it has ended.
        end: when it has ended.
        failure: why it has failed; ``None`` if it has succeeded.
    """
    during_run = dataclasses.replace(assigned, started=started)
    return dataclasses.replace(
        view_of_assigned(during_run),
        state=state,
        finished_at=end.finished,
        expires_at=end.expires,
        failure=failure,
        version=make_version(assigned.fence.run_number, done=True),
    )


@stored_at("pyramid_zodb_async.scheduler.view")
def _nothing() -> None:
    """Return the result of a job that has none."""


def view_of_record(job: StoredJob) -> JobView:
    """Return the view of a job from its record, without its result.

    Args:
        job: the job.
    """
    return view_of(job, None, _nothing)


def view_of(
    job: StoredJob,
    report: ProgressReport | None,
    load_result: Callable[[], Any],
) -> JobView:
    """Return the view of a job from its record.

    Args:
        job: the job.
        report: of the process that runs it; ``None`` if there is none.
        load_result: loads its result.
    """
    record, given = job.record, job.definition
    state, attempt = JobState(record.state), record.attempt
    started, progress = record.started, None
    if record.progress is not None:
        progress = Progress.load(record.progress, record.progress_translation)
    if report is not None and report.started:
        state, attempt = JobState.RUNNING, report.attempt
        started, progress = report.started, report.progress
    return JobView(
        sid=job.sid,
        state=state,
        function=given.function or "",
        owner=given.owner and loaded_owner(given.owner, given.owner_kind),
        attempt=attempt,
        progress=progress,
        scheduled_at=given.scheduled,
        due_at=job.due if state is JobState.PENDING else None,
        started_at=started,
        finished_at=record.finished,
        expires_at=record.expires,
        failure=record.failure if record.error else None,
        options=Options.load(given.options) if given.options else NO_OPTIONS,
        version=version_of(job, report),
        load_result=load_result,
    )


def version_of(job: StoredJob, report: ProgressReport | None) -> int:
    """Return the version of the view of a job from its record.

    Args:
        job: the job.
        report: of the process that runs it; ``None`` if there is none.
    """
    return make_version(
        job.run_number,
        done=job.record.state != JobState.PENDING,
        changes=report.changes if report else 0,
    )


class Result:
    """Loads what a job returned, as long as its connection may be used.

    Args:
        location: where the store is.
        record: the record of the job.
        connections: those by which the result is loaded.
    """

    def __init__(
        self,
        location: StoreLocation,
        record: JobRecord,
        connections: Connections,
    ) -> None:
        self._location = location
        self._value = record.value
        # Not the objects: a view may outlive its request, and the connection
        # of the objects may be another thread's by then.
        outcome = record.outcome
        self._pair: Dumped | None = None
        self._oid = None
        if isinstance(outcome, tuple):
            # a job that asks for its own has none before its commit
            with contextlib.suppress(NotTransferable):
                self._pair = resolved(Envelope(*outcome))
        elif outcome is not None:
            self._oid = outcome._p_oid
        self._connections = connections

    def __call__(self) -> Any:
        """Return the result, loaded anew.

        Raises:
            JobNotLoadable: something that it refers to is gone.
        """
        if self._pair is None and self._oid is None:
            return self._value
        jar = self._connections.to(self._location.db)
        if self._pair is not None:
            return self._pair.load(self._connections, jar)
        outcome = jar.get(self._oid)
        if isinstance(outcome, Outcome):
            # outcome.load() would load a ghost, only for load() to invalidate
            # it
            value = Outcome.load(outcome)
            refuse_broken(value)
            return value
        return load_contents(outcome, jar)
