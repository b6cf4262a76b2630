"""Tells what the database and this process know of a job."""

import datetime
from typing import Any

from ..connections import Connections
from ..job import JobState, JobView, Progress
from ..storing import refuse_broken
from .held import Held
from .place import Place
from .records import Outcome, Record

__all__ = ["Result", "view_of"]


def view_of(
    sid: str,
    record: Record,
    held: Held | None,
    place: Place,
    connections: Connections,
) -> JobView:
    """Make the view of a job of its record, and of what is held of it here.

    Its result is loaded through *connections*.
    """
    state, attempt = JobState(record.state), record.attempt
    started, progress = _moment(record.started), _progress(record)
    if held is not None and not state.done and held.started is not None:
        state, attempt = JobState.RUNNING, held.attempt
        started, progress = held.started, held.progress
    return JobView(
        sid=sid,
        state=state,
        function=record.function,
        owner=record.owner,
        attempt=attempt,
        progress=progress,
        scheduled=_moment(record.scheduled),
        started=started,
        finished=_moment(record.finished),
        expires=_moment(record.expires),
        failure=record.failure,
        load_result=Result(place, record.outcome, connections),
    )


class Result:
    """Loads what a job returned, as long as its connection may be used."""

    def __init__(
        self,
        place: Place,
        outcome: Outcome | None,
        connections: Connections,
    ) -> None:
        self._place = place
        # not the object: its connection may be somebody else's when asked
        self._oid = outcome and outcome._p_oid
        self._connections = connections

    def __call__(self) -> Any:
        """Load it."""
        if self._oid is None:
            return None
        connection = self._connections.to(self._place.db)
        value = connection.get(self._oid).load()
        refuse_broken(value)
        return value


def _progress(record: Record) -> Progress | None:
    if record.progress is None:
        return None
    done, total, message = record.progress
    return Progress(done=done, total=total, message=message)


def _moment(seconds: float | None) -> Any:
    if seconds is None:
        return None
    try:
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return None  # so late that it is never
