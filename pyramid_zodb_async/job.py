"""What is known of a job, as plain data."""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

__all__ = ["Failure", "JobState", "JobView", "Progress"]


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a job has come, in units of its own choice."""

    #: Units of work done.
    done: float
    #: Units of work in all, ``None`` where the job does not know.
    total: float | None = None
    #: A line for people.
    message: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why a job failed."""

    #: The name of the exception's type.
    type: str
    #: Its text, for logs and for the application.
    message: str
    #: Whether that text may be shown to whoever waits for the job.
    public: bool = False


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
    #: Which run this is or was, from 1; 0 before the first.
    attempt: int = 0
    #: What the job last said of its progress.
    progress: Progress | None = None
    #: When the scheduling transaction made it, in UTC.
    scheduled: datetime
    #: When its last run began, in UTC.
    started: datetime | None = None
    #: When it ended, in UTC.
    finished: datetime | None = None
    #: When it will be forgotten, in UTC.
    expires: datetime | None = None
    #: Why it failed; ``None`` unless it did.
    failure: Failure | None = None
    #: Loads what the job returned; see :attr:`result`.
    load_result: Callable[[], Any]

    @property
    def done(self) -> bool:
        """Whether the job has ended, one way or another."""
        return self.state.done

    @property
    def result(self) -> Any:
        """What the job returned; ``None`` unless it succeeded.

        Persistent objects in it are loaded through the connection of whoever
        got this view, anew each time.

        Raises:
            JobNotLoadable: an object in it was deleted since.
        """
        return self.load_result()
