"""Makes the views of stored jobs, from the database or from memory."""

import dataclasses
from collections.abc import Callable
from typing import Any

from ...interfaces import Connections
from ...jobs.class_paths import stored_at
from ...jobs.model import (
    Failure,
    JobState,
    JobView,
    Progress,
    make_version,
    moment,
)
from ...jobs.options import Options
from ..records import Outcome, Record
from ..store.location import StoreLocation
from ..store.stored_values import refuse_broken
from ..store.transitions import End
from .assigned_jobs import AssignedJob
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
        scheduled=_moment(assigned.scheduled),
        due=_moment(None if is_running else assigned.due),
        started=assigned.started,
        options=assigned.options,
        version=version,
        load_result=_nothing,
    )


def view_of_ended(
    assigned: AssignedJob, state: JobState, end: End, failure: Failure | None
) -> JobView:
    """Return the view of a job that its run has ended, for an event.

    Args:
        assigned: the job, as it was during the run.
        state: how it has ended.
        end: when it has ended.
        failure: why it has failed; ``None`` if it has succeeded.
    """
    return dataclasses.replace(
        view_of_assigned(assigned),
        state=state,
        finished=_moment(end.finished),
        expires=_moment(end.expires),
        failure=failure,
        version=make_version(assigned.fence.run_number, done=True),
    )


@stored_at("pyramid_zodb_async.scheduler.view")
def _nothing() -> None:
    """Return the result of a job that has none."""


def view_of(
    sid: str,
    record: Record,
    report: ProgressReport | None,
    location: StoreLocation,
    connections: Connections,
) -> JobView:
    """Return the view of a job from its record.

    Args:
        sid: the sid of the job.
        record: its record.
        report: of the process that runs it; ``None`` if there is none.
        location: where the store is.
        connections: those by which the view loads the result.
    """
    return _view(sid, record, report, Result(location, record, connections))


def view_of_record(sid: str, record: Record) -> JobView:
    """Return the view of a job from its record, without its result.

    Args:
        sid: the sid of the job.
        record: its record.
    """
    return _view(sid, record, None, _nothing)


def _view(
    sid: str,
    record: Record,
    report: ProgressReport | None,
    load_result: Callable[[], Any],
) -> JobView:
    state, attempt = JobState(record.state), record.attempt
    started, progress = record.started, record.progress
    if report is not None and report.started:
        state, attempt = JobState.RUNNING, report.attempt
        started, progress = report.started, report.progress
    return JobView(
        sid=sid,
        state=state,
        function=record.function,
        owner=record.owner,
        attempt=attempt,
        progress=_progress(progress),
        scheduled=_moment(record.scheduled),
        due=_moment(record.due if state is JobState.PENDING else None),
        started=_moment(started),
        finished=_moment(record.finished),
        expires=_moment(record.expires),
        failure=record.failure,
        options=Options.load(record.options),
        version=version_of(record, report),
        load_result=load_result,
    )


def version_of(record: Record, report: ProgressReport | None) -> int:
    """Return the version of the view of a record.

    Args:
        record: the record of the job.
        report: of the process that runs it; ``None`` if there is none.
    """
    return make_version(
        record.run_number,
        done=record.state != JobState.PENDING,
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
        record: Record,
        connections: Connections,
    ) -> None:
        self._location = location
        self._value = record.value
        # Not the object: a view may outlive its request, and the connection
        # of the object may be another thread's by then.
        self._oid = record.outcome and record.outcome._p_oid
        self._connections = connections

    def __call__(self) -> Any:
        """Return the result, loaded anew."""
        if self._oid is None:
            return self._value
        connection = self._connections.to(self._location.db)
        # outcome.load() would load a ghost, only for load() to invalidate it
        value = Outcome.load(connection.get(self._oid))
        refuse_broken(value)
        return value


def _progress(
    parts: tuple[float, float | None, str | None] | None,
) -> Progress | None:
    if parts is None:
        return None
    done, total, message = parts
    return Progress(done=done, total=total, message=message)


def _moment(seconds: float | None) -> Any:
    return None if seconds is None else moment(seconds)
