"""What is known of a job: its view, state, progress, failure and version."""

import enum
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from .class_paths import stored_at
from .options import NO_OPTIONS, Options
from .translations import (
    TranslatableText,
    Translation,
    loaded_text,
    plain_text,
)

__all__ = [
    "NO_PROGRESS",
    "Failure",
    "JobState",
    "JobView",
    "Progress",
    "Version",
    "make_version",
    "may_be_sid",
    "moment",
    "stored_progress",
    "without_changes",
]

#: A version has room for fewer changes of one run than this.
CHANGES = 2**32

#: No sid is longer. Texts that are may come from anybody, so nothing is done
#: with them.
LONGEST_SID = 64


def may_be_sid(sid: Any) -> bool:
    """Return whether a text is short enough for the sid of a job.

    Args:
        sid: what has been given for a sid. What is no text is short enough.
    """
    return not isinstance(sid, str) or len(sid) <= LONGEST_SID


def moment(seconds: float | None) -> datetime | None:
    """Return a time as a ``datetime`` in UTC.

    Args:
        seconds: the time, in seconds since the epoch, if there is one.

    Returns:
        The ``datetime``; ``None`` if there is none, or the time is too late
        for one.
    """
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return None


@stored_at("pyramid_zodb_async.job")
class JobState(enum.StrEnum):
    """The states of a job; JSON shows their texts."""

    #: It is committed, and waits for a worker or for its time.
    PENDING = "pending"
    #: A worker runs it.
    RUNNING = "running"
    #: It returned, and its effects are committed.
    SUCCEEDED = "succeeded"
    #: It raised, or could not be committed; it has left no effects.
    FAILED = "failed"
    #: It was cancelled; it has left no effects.
    CANCELLED = "cancelled"

    @property
    def done(self) -> bool:
        """Whether the job has ended, one way or another."""
        return self not in _UNFINISHED


_UNFINISHED = (JobState.PENDING, JobState.RUNNING)


@stored_at("pyramid_zodb_async.job")
@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a job has come, in units that the job chooses."""

    #: Units of work done.
    done: float
    #: Units of work in all, ``None`` if the job does not know.
    total: float | None = None
    #: A line of text for people.
    message: str | None = None

    def as_tuple(self) -> tuple[float, float | None, str | None]:
        """Return the three attributes as a tuple, as they are stored."""
        message = self.message
        plain = None if message is None else plain_text(message)
        return self.done, self.total, plain

    @property
    def translation(self) -> Translation | None:
        """What the message is translated by, as it is stored."""
        return getattr(self.message, "translation", None)

    @classmethod
    def load(
        cls,
        stored: tuple[float, float | None, str | None],
        translation: Translation | None,
    ) -> "Progress":
        """Return a progress that was stored.

        Args:
            stored: what :meth:`as_tuple` has returned.
            translation: the :attr:`translation`.
        """
        done, total, message = stored
        if message is not None:
            message = loaded_text(message, translation)
        return cls(done=done, total=total, message=message)


#: What :func:`stored_progress` returns if there was none.
NO_PROGRESS: dict[str, Any] = {"progress": None, "progress_translation": None}


def stored_progress(progress: Progress | None) -> dict[str, Any]:
    """Return the attributes of a record that tell how far a job has come.

    Args:
        progress: the last progress, if there was one.
    """
    if progress is None:
        return NO_PROGRESS
    return {
        "progress": progress.as_tuple(),
        "progress_translation": progress.translation,
    }


@stored_at("pyramid_zodb_async.job")
@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why a job failed."""

    #: The name of the exception's type.
    type: str
    #: The text of the exception, for logs and for the application.
    message: str
    #: Whether that text may be shown to users who wait for the job.
    public: bool = False

    def stored(self) -> tuple[Any, ...]:
        """Return the failure as plain data."""
        parts = self.type, plain_text(self.message), self.public
        if isinstance(self.message, TranslatableText):
            # behind them, where earlier versions do not look
            return *parts, self.message.translation
        return parts

    @classmethod
    def load(cls, stored: tuple[Any, ...]) -> "Failure":
        """Return the failure that :meth:`stored` was called of.

        Args:
            stored: what that has returned, perhaps in an earlier version.
        """
        kind, message, public, *translations = stored
        if translations:
            message = loaded_text(message, translations[0])
        return cls(type=kind, message=message, public=public)


def make_version(run: int, *, done: bool = False, changes: int = 0) -> int:
    """Return the version of a view of a job: newer views have greater ones.

    A process that does not run the job knows less of its changes than the one
    that does. If it takes the job over, or cancels it, its version must be
    greater all the same. So *run* and *done* weigh more than all changes.

    JavaScript can tell versions apart, which are below 2**53, as long as *run*
    is below a million.

    Args:
        run: how often the job came to another process, or was retried.
        done: whether the job has ended; nothing follows in that run.
        changes: how often the run has begun, has reported progress, or was
            set back to be repeated; not counted if the job has ended.
    """
    return (2 * run + done) * CHANGES + min(changes, CHANGES - 1)


def without_changes(version: int) -> int:
    """Return the least version of the same run, ended or not.

    Args:
        version: the version of a view.
    """
    return version - version % CHANGES


@stored_at("pyramid_zodb_async.job")
class Version(int):
    """What versions were before they were numbers.

    Databases may hold views that have one. So it can be loaded, and that gives
    the number in its place. There are no instances.
    """

    def __new__(cls, *parts: int) -> int:  # type: ignore[misc]
        """Return the number in its place."""
        run, done, progress, starts = parts
        return make_version(run, done=bool(done), changes=progress + starts)


@stored_at("pyramid_zodb_async.job")
@dataclass(frozen=True, kw_only=True, slots=True)
class JobView:
    """A job as it was at one time; later changes do not show in it."""

    #: The id of the job.
    sid: str
    #: Its state.
    state: JobState
    #: The name of what it calls, as ``module:qualname``, for people and logs.
    function: str
    #: The userid that scheduled it, ``None`` if nobody was logged in.
    owner: str | None = None
    #: The number of its current or last attempt, from 1; 0 before the first.
    attempt: int = 0
    #: The progress that the job has reported last.
    progress: Progress | None = None
    #: When it was scheduled, in seconds since the epoch, as the next four.
    scheduled_at: float
    #: When its next run is to begin, if it waits for that time.
    due_at: float | None = None
    #: When its last run began.
    started_at: float | None = None
    #: When it ended.
    finished_at: float | None = None
    #: When its outcome will be removed.
    expires_at: float | None = None
    #: Why it failed, or that it was undone; else ``None``.
    failure: Failure | None = None
    #: The options that it was scheduled with.
    options: Options = NO_OPTIONS
    #: Grows with each change that a view shows: of two views of the job, the
    #: one with the greater version is newer.
    version: int = 0
    #: Loads what the job has returned; see :attr:`result`.
    load_result: Callable[[], Any]

    @property
    def done(self) -> bool:
        """Whether the job has ended, one way or another."""
        return self.state.done

    @property
    def scheduled(self) -> datetime:
        """When it was scheduled, in UTC."""
        return datetime.fromtimestamp(self.scheduled_at, UTC)

    @property
    def due(self) -> datetime | None:
        """When its next run is to begin, in UTC, if it waits for that time."""
        return moment(self.due_at)

    @property
    def started(self) -> datetime | None:
        """When its last run began, in UTC."""
        return moment(self.started_at)

    @property
    def finished(self) -> datetime | None:
        """When it ended, in UTC."""
        return moment(self.finished_at)

    @property
    def expires(self) -> datetime | None:
        """When its outcome will be removed, in UTC."""
        return moment(self.expires_at)

    @property
    def title(self) -> str | None:
        """The name of the job for people, ``None`` if it has none."""
        return self.options.title

    @property
    def result(self) -> Any:
        """What the job has returned; ``None`` unless it has succeeded.

        It is loaded each time. Persistent objects in it come from the
        connections that this view was made with.

        Raises:
            JobNotLoadable: an object in it was deleted since.
        """
        return self.load_result()

    # Pickles of views have the times as datetimes, as those of former versions
    # of this package, so that both can read them. A datetime is less exact,
    # and some times are too late for one. So the numbers follow behind, where
    # former versions do not look.

    def __getstate__(self) -> list[Any]:
        state, times = [], []
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_at"):
                times.append(value)
                value = moment(value)
            state.append(value)
        return [*state, *times]

    def __setstate__(self, state: list[Any]) -> None:
        names = [field.name for field in fields(self)]
        times = [name for name in names if name.endswith("_at")]
        # without the numbers in a pickle of a former version
        for name, value in zip(names + times, state, strict=False):
            if isinstance(value, datetime):
                value = value.timestamp()  # noqa: PLW2901 - as is stored
            object.__setattr__(self, name, value)
