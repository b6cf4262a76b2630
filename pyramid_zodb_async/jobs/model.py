"""What is known of a job, as plain data."""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from .options import NO_OPTIONS, Options
from .stored_paths import stored_at

__all__ = ["Failure", "JobState", "JobView", "Progress", "Version", "moment"]


def moment(seconds: float) -> datetime | None:
    """Give a moment of seconds since the epoch in UTC.

    ``None`` if it is so late that it is never.
    """
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return None


@stored_at("pyramid_zodb_async.job")
class JobState(enum.StrEnum):
    """The states of a job; its text is what JSON shows."""

    #: Committed, and waiting for a worker.
    PENDING = "pending"
    #: A worker is at it.
    RUNNING = "running"
    #: It returned, and its effects are committed.
    SUCCEEDED = "succeeded"
    #: It raised, or could not be committed; it left no effects.
    FAILED = "failed"
    #: It was cancelled; it left no effects.
    CANCELLED = "cancelled"

    @property
    def done(self) -> bool:
        """Whether the job has ended, one way or another."""
        return self not in _UNFINISHED


_UNFINISHED = (JobState.PENDING, JobState.RUNNING)


@stored_at("pyramid_zodb_async.job")
@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a job has come, in units of its own choice."""

    #: Units of work done.
    done: float
    #: Units of work in all, ``None`` where the job does not know.
    total: float | None = None
    #: A line for people.
    message: str | None = None

    def as_tuple(self) -> tuple[float, float | None, str | None]:
        """Give the three without their class, as they are stored."""
        return self.done, self.total, self.message


@stored_at("pyramid_zodb_async.job")
@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why a job failed."""

    #: The name of the exception's type.
    type: str
    #: Its text, for logs and for the application.
    message: str
    #: Whether that text may be shown to whoever waits for the job.
    public: bool = False


@stored_at("pyramid_zodb_async.job")
class Version(NamedTuple):
    """Which of two views of the same job is the newer one: the greater.

    Processes know a job from different moments. One that does not run it may
    know less of its progress than one that does.
    """

    #: Counts how often the job came to another process, or was retried.
    run: int = 0
    #: Whether it has ended; nothing follows in that run.
    done: bool = False
    #: Counts what the job has said of its progress.
    progress: int = 0
    #: Counts its starts, and its ends by conflicts.
    starts: int = 0


FIRST_VERSION = Version()


@stored_at("pyramid_zodb_async.job")
@dataclass(frozen=True, kw_only=True, slots=True)
class JobView:
    """A job as it was at one moment; later changes do not show in it."""

    #: The id of the job.
    sid: str
    #: Where it stands.
    state: JobState
    #: What it runs, as ``module:qualname``, for people and logs.
    function: str
    #: The userid that scheduled it, ``None`` if nobody was logged in.
    owner: str | None = None
    #: Which attempt this is or was, from 1; 0 before the first.
    attempt: int = 0
    #: What the job last said of its progress.
    progress: Progress | None = None
    #: When the scheduling transaction made it, in UTC.
    scheduled: datetime
    #: When its next run is to begin, in UTC, if it waits for that moment.
    due: datetime | None = None
    #: When its last run began, in UTC.
    started: datetime | None = None
    #: When it ended, in UTC.
    finished: datetime | None = None
    #: When it will be forgotten, in UTC.
    expires: datetime | None = None
    #: Why it failed; ``None`` unless it did.
    failure: Failure | None = None
    #: How it is to be run.
    options: Options = NO_OPTIONS
    #: Which view of the job this is.
    version: Version = FIRST_VERSION
    #: Loads what the job returned; see :attr:`result`.
    load_result: Callable[[], Any]

    @property
    def done(self) -> bool:
        """Whether the job has ended, one way or another."""
        return self.state.done

    @property
    def title(self) -> str | None:
        """What people call it, if it was given a title."""
        return self.options.title

    @property
    def result(self) -> Any:
        """What the job returned; ``None`` unless it succeeded.

        Persistent objects in it are loaded through the connection of whoever
        got this view, anew each time.

        Raises:
            JobNotLoadable: an object in it was deleted since.
        """
        return self.load_result()
