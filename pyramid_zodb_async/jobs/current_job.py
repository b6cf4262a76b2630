"""The current job: what code that runs in a job can ask and report."""

import contextlib
import contextvars
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

from ..concurrency.context_values import ContextValue
from ..exceptions import JobError
from .model import Progress
from .plain_numbers import plain_number
from .translations import as_text

__all__ = ["CurrentJob", "Run", "current_job", "running", "running_job"]

T = TypeVar("T")

#: How many characters of a message are kept: pollers get it again and again.
LONGEST_MESSAGE = 1000


class Run(Protocol):
    """What a :class:`CurrentJob` needs of its run."""

    sid: str
    attempt: int
    owner: str | None
    function: str

    def report(self, progress: Progress) -> None:
        """Show *progress* to those who ask for the job."""

    def stop_reason(self) -> JobError | None:
        """Return why the run should end at once, or ``None``."""


class CurrentJob:
    """The running job, for code inside it.

    :func:`current_job` returns it. It belongs to one run; use it in the
    thread that runs the job.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._process = os.getpid()

    @property
    def sid(self) -> str:
        """The id of the job."""
        return self._run.sid

    @property
    def owner(self) -> str | None:
        """The userid that scheduled the job, ``None`` without a login."""
        return self._run.owner

    @property
    def attempt(self) -> int:
        """The number of the attempt, from 1.

        It stays the same when a run is repeated because of a conflict.
        """
        return self._run.attempt

    def check(self) -> None:
        """Raise if the job should not go on.

        Call it now and then in long work that reports no progress.

        Raises:
            JobCancelled: the job was cancelled or removed, or is not to be
                run by this process any more.
            JobTimeout: this run has taken longer than the job's time limit.
            RuntimeError: a forked child of the process that runs the job
                calls this.
        """
        if os.getpid() != self._process:
            # what it has in memory is a copy, which nobody looks at
            raise RuntimeError(
                f"This is in a child of the process that runs the job"
                f" {self.sid}: nobody would see its progress here, nor is it"
                " known here whether the job was cancelled. Call progress()"
                " and check() in the job itself, for instance for each result"
                " that a child gives"
            )
        if reason := self._run.stop_reason():
            raise reason

    def progress(
        self,
        done: float,
        total: float | None = None,
        message: str | None = None,
    ) -> None:
        """Report how far the job has come, after a :meth:`check`.

        Clients that poll see the latest report. It is not a part of the job's
        transaction: it is visible at once, and is not rolled back.

        Args:
            done: the units of work that are done, in units of your choice.
                It may be a number of any kind, such as one of numpy.
            total: the units of work in all; ``None`` if that is not known.
            message: a line of text for people, of which 1000 characters are
                kept. It may be a translation string.

        Raises:
            JobCancelled: see :meth:`check`.
            JobTimeout: see :meth:`check`.
            RuntimeError: see :meth:`check`.
            TypeError: *done* or *total* is no number, or *message* no text.
            ValueError: *done* or *total* is negative, NaN or greater than
                2**53.
        """
        self.check()
        done = _amount("done", done)
        if total is not None:
            total = _amount("total", total)
        if message is not None and not isinstance(message, str):
            raise TypeError(
                f"progress() takes a str as message, not {message!r}"
            )
        if message is not None:
            message = as_text(message, LONGEST_MESSAGE)
        self._run.report(Progress(done=done, total=total, message=message))

    def track(
        self,
        items: Iterable[T],
        *,
        total: float | None = None,
        message: str | Callable[[T], str] | None = None,
    ) -> Iterator[T]:
        """Iterate over *items*, and report how many of them are done.

        It reports before each item, and once more after the last.

        Args:
            items: what the job works on, one after the other.
            total: the number of items; by default ``len(items)`` if they have
                a length.
            message: a line of text for people, or a function that is called
                with the next item and returns such a line. The last report,
                when all items are done, has no message of a function.

        Returns:
            The items, in an iterator that raises what :meth:`progress`
            raises.
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


#: The greatest amount: JavaScript, as clients read the progress with it,
#: represents each whole number exactly only up to here.
MOST = 2**53


def _amount(name: str, value: Any) -> float:
    """Return an amount as a plain number."""
    number = plain_number(value)
    if number is None:
        raise TypeError(f"progress() takes a number as {name}, not {value!r}")
    if not 0 <= number <= MOST:
        raise ValueError(f"progress() takes a {name} from 0 to 2**53")
    return number


_current: contextvars.ContextVar[CurrentJob] = contextvars.ContextVar(
    "current_job"
)


def running_job() -> CurrentJob | None:
    """Return the job that the calling code runs in, or ``None``."""
    return _current.get(None)


def current_job() -> CurrentJob:
    """Return the job that the calling code runs in.

    Raises:
        JobError: the code does not run in a job, or runs in a thread that a
            job has started.
    """
    job = running_job()
    if job is None:
        raise JobError(
            "current_job() was called outside a job: only code that a"
            " scheduler runs has one"
        )
    return job


def running(run: Run) -> contextlib.AbstractContextManager[CurrentJob]:
    """Make the job of *run* the current one inside a ``with`` block.

    Args:
        run: the attempt at the job that the block executes.
    """
    return ContextValue(_current, CurrentJob(run))
