"""The state of a job in memory, and the view of it."""

import datetime
import functools
import secrets
from dataclasses import dataclass, field
from typing import Any

from ...interfaces import Connections
from ...jobs.model import (
    Failure,
    JobState,
    JobView,
    Progress,
    make_version,
    moment,
)
from ...jobs.options import NO_OPTIONS, Options
from ...transfer.references import Dumped
from .call import Loadable

__all__ = ["Job", "load", "utc_now", "view_of"]


def utc_now() -> datetime.datetime:
    """Return the present time in UTC."""
    return datetime.datetime.now(datetime.UTC)


@dataclass(kw_only=True, slots=True)
class Job:
    """A job in memory. Only its table changes it, under the table's lock."""

    #: The name of what it calls, as ``module:qualname``.
    function: str
    owner: str | None
    base_url: str | None
    sid: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    call: Loadable | None = None
    options: Options = NO_OPTIONS
    #: When its next run is to begin, in seconds since the epoch.
    due: float | None = None
    state: JobState = JobState.PENDING
    #: The number of the last attempt that has begun.
    attempt: int = 0
    #: How often this attempt was repeated after a conflict.
    conflicts: int = 0
    #: How many attempts have failed since it was scheduled, or retried.
    failures: int = 0
    #: Whether the next run repeats the attempt.
    repeats: bool = False
    #: Grows with each run: an earlier run that still goes on has another one,
    #: and cannot change the job any more.
    run_number: int = 0
    #: Whether its effects may be committed already: too late to cancel.
    committing: bool = False
    #: How often it was set back to pending after a failure.
    retries: int = 0
    progress: Progress | None = None
    #: How often a run of it began, has reported progress, or was set back to
    #: be repeated.
    changes: int = 0
    scheduled: datetime.datetime = field(default_factory=utc_now)
    started: datetime.datetime | None = None
    finished: datetime.datetime | None = None
    expires: datetime.datetime | None = None
    value: Dumped | None = None
    failure: Failure | None = None
    exception: bytes | None = None

    @property
    def version(self) -> int:
        """The version of a view of the job as it is now."""
        done = self.state.done
        changes = 0 if done else self.changes
        return make_version(self.retries, done=done, changes=changes)


def view_of(job: Job, connections: Connections | None) -> JobView:
    """Return the view of a job as it is now.

    Args:
        job: the job; a copy, if other threads may change the job.
        connections: those by which the view loads the result; ``None`` for a
            view without the result.
    """
    due = job.due
    return JobView(
        sid=job.sid,
        state=job.state,
        function=job.function,
        owner=job.owner,
        attempt=job.attempt,
        progress=job.progress,
        scheduled=job.scheduled,
        due=None if due is None else moment(due),
        started=job.started,
        finished=job.finished,
        expires=job.expires,
        failure=job.failure,
        options=job.options,
        version=job.version,
        load_result=functools.partial(load, job.value, connections),
    )


def load(dumped: Dumped | None, connections: Connections | None) -> Any:
    """Return a result, with persistent objects from *connections*.

    Args:
        dumped: the pickled result; ``None`` if there is none.
        connections: those by which it is loaded; ``None`` if it cannot be.

    Returns:
        The result; ``None`` if one of the two is ``None``.

    Raises:
        JobNotLoadable: something that the result refers to is gone.
    """
    if dumped is None or connections is None:
        return None
    return dumped.load(connections)
