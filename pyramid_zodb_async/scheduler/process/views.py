"""Tells what the database and this process know of a job."""

import dataclasses
from collections.abc import Callable
from typing import Any

from ...interfaces import Connections
from ...jobs.model import Failure, JobState, JobView, Progress, Version, moment
from ...jobs.options import Options
from ...jobs.stored_paths import stored_at
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
    "view_of_ended",
    "view_of_held",
    "view_of_record",
]


def view_of_held(assigned: AssignedJob) -> JobView:
    """Make the view of an unfinished job of what this process knows of it."""
    is_running = assigned.started is not None
    return JobView(
        sid=assigned.sid,
        state=JobState.RUNNING if is_running else JobState.PENDING,
        function=assigned.function,
        owner=assigned.owner,
        attempt=assigned.attempt if is_running else assigned.attempt - 1,
        progress=assigned.progress if is_running else None,
        scheduled=_moment(assigned.scheduled),
        due=_moment(None if is_running else assigned.due),
        started=assigned.started,
        options=assigned.options,
        version=assigned.version,
        load_result=_nothing,
    )


def view_of_ended(
    assigned: AssignedJob, state: JobState, end: End, failure: Failure | None
) -> JobView:
    """Make the view of a job whose run has ended it."""
    return dataclasses.replace(
        view_of_held(assigned),
        state=state,
        finished=_moment(end.finished),
        expires=_moment(end.expires),
        failure=failure,
        version=Version(run=assigned.fence.run_number, done=True),
    )


@stored_at("pyramid_zodb_async.scheduler.view")
def _nothing() -> None:
    """Give the result of a job that has none."""


def view_of(
    sid: str,
    record: Record,
    report: ProgressReport | None,
    location: StoreLocation,
    connections: Connections,
) -> JobView:
    """Make the view of a job of its record, and of what was told of its run.

    Its result is loaded through *connections*.
    """
    return _view(sid, record, report, Result(location, record, connections))


def view_of_record(sid: str, record: Record) -> JobView:
    """Make the view of a job of its record alone, without its result."""
    return _view(sid, record, None, _nothing)


def _view(
    sid: str,
    record: Record,
    report: ProgressReport | None,
    load_result: Callable[[], Any],
) -> JobView:
    state, attempt = JobState(record.state), record.attempt
    started, progress = record.started, record.progress
    if report is not None:
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


def version_of(record: Record, report: ProgressReport | None) -> Version:
    """Tell which view of its job a record gives."""
    if record.state != JobState.PENDING:
        return Version(run=record.run_number, done=True)
    if report is None:
        return Version(run=record.run_number)
    return Version(
        run=record.run_number, progress=report.reports, starts=report.starts
    )


class Result:
    """Loads what a job returned, as long as its connection may be used."""

    def __init__(
        self,
        location: StoreLocation,
        record: Record,
        connections: Connections,
    ) -> None:
        self._location = location
        self._value = record.value
        # not the object: its connection may be somebody else's when asked
        self._oid = record.outcome and record.outcome._p_oid
        self._connections = connections

    def __call__(self) -> Any:
        """Load it."""
        if self._oid is None:
            return self._value
        connection = self._connections.to(self._location.db)
        # a method of a ghost would load it, for nothing
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
