"""The running job, as the code inside it sees it."""

import contextlib
import contextvars
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from ..exceptions import JobError
from .model import Progress

__all__ = ["CurrentJob", "Run", "current_job", "running", "running_job"]

T = TypeVar("T")


class Run(Protocol):
    """One attempt at a job, as the scheduler hands it out."""

    sid: str
    attempt: int
    owner: str | None
    function: str

    def report(self, progress: Progress) -> None:
        """Let those who ask for the job see *progress*."""

    def stop_reason(self) -> JobError | None:
        """Tell why the run should end at once, or ``None``."""


class CurrentJob:
    """What a job knows of itself, and how it tells of its progress.

    :func:`current_job` gives it. It belongs to one run; use it in the thread
    that runs the job.
    """

    def __init__(self, run: Run) -> None:
        self._run = run

    @property
    def sid(self) -> str:
        """The id of the job."""
        return self._run.sid

    @property
    def owner(self) -> str | None:
        """The userid that scheduled the job, ``None`` if nobody was in."""
        return self._run.owner

    @property
    def attempt(self) -> int:
        """Which run this is, from 1.

        A run that is repeated because of a conflict counts once.
        """
        return self._run.attempt

    def check(self) -> None:
        """Raise if the job should not go on.

        Call it now and then in long work that reports no progress.

        Raises:
            JobCancelled: nobody wants the job any more.
        """
        if reason := self._run.stop_reason():
            raise reason

    def progress(
        self,
        done: float,
        total: float | None = None,
        message: str | None = None,
    ) -> None:
        """Tell how far the job has come; does :meth:`check` first.

        *done* and *total* are in units of your choice; *message* is a line
        for people. Those who poll see the latest call; it is no part of the
        job's transaction.

        Raises:
            TypeError: an argument is not of the type that JSON needs.
            ValueError: *done* or *total* is negative, too large or no number.
        """
        self.check()
        _require_amount("done", done)
        if total is not None:
            _require_amount("total", total)
        if message is not None and not isinstance(message, str):
            raise TypeError(
                f"progress() takes a str as message, not {message!r}"
            )
        # subclasses, as translation strings are, may hold anything
        self._run.report(
            Progress(
                done=_plain(done),
                total=None if total is None else _plain(total),
                message=None if message is None else str.__str__(message),
            )
        )

    def track(
        self,
        items: Iterable[T],
        *,
        total: float | None = None,
        message: str | Callable[[T], str] | None = None,
    ) -> Iterator[T]:
        """Iterate over *items*, and report each as done when it is.

        *total* is ``len(items)`` where they have a length. *message* is a
        text, or a function that makes one of the item at hand; when all are
        done there is none at hand, and no message of that kind.
        """
        if total is None:
            with contextlib.suppress(TypeError):
                total = len(items)  # type: ignore[arg-type]
        done = 0
        for item in items:
            text = message(item) if callable(message) else message
            self.progress(done, total, text)
            yield item
            done += 1
        self.progress(done, total, None if callable(message) else message)


#: Up to here JavaScript tells whole numbers apart.
MOST = 2**53


def _plain(number: float) -> float:
    if isinstance(number, int):
        return int.__index__(number)
    return float.__float__(number)


def _require_amount(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"progress() takes a number as {name}, not {value!r}")
    if not 0 <= value <= MOST:
        raise ValueError(f"progress() takes a {name} from 0 to 2**53")


_current: contextvars.ContextVar[CurrentJob] = contextvars.ContextVar(
    "current_job"
)


def running_job() -> CurrentJob | None:
    """Give the job that the calling code runs in, or ``None``."""
    return _current.get(None)


def current_job() -> CurrentJob:
    """Give the job that the calling code runs in.

    Raises:
        JobError: it runs in none.
    """
    job = running_job()
    if job is None:
        raise JobError(
            "current_job() was called outside a job: only code that a"
            " scheduler runs has one"
        )
    return job


@contextlib.contextmanager
def running(run: Run) -> Iterator[CurrentJob]:
    """Make *run* the current job of the block."""
    token = _current.set(CurrentJob(run))
    try:
        yield _current.get()
    finally:
        _current.reset(token)
