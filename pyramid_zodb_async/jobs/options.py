"""How a job is to be run: its options, as they are kept with it."""

import functools
import random
import re
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from .stored_paths import stored_at

__all__ = [
    "DEFAULT_QUEUE",
    "NO_OPTIONS",
    "QUEUE_NAME",
    "Backoff",
    "Options",
    "name_of_exception",
]

#: The queue of a job that names none.
DEFAULT_QUEUE = "default"

#: What a queue may be called; brokers know these characters.
QUEUE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


@stored_at("pyramid_zodb_async.options")
class Backoff(NamedTuple):
    """How long a job waits before it is tried again.

    Before the second attempt it waits up to *first* seconds, before each
    further one up to twice as long as before the last, but never longer than
    *greatest* seconds. How much of that it waits is left to chance, so that
    jobs that failed together do not come back together.
    """

    first: float = 5.0
    greatest: float = 3600.0

    def delay(self, failures: int) -> float:
        """Give the seconds to wait after so many failures, from 1."""
        # no larger power, which could not be multiplied any more
        longest = self.first * 2 ** min(failures - 1, 60)
        most = min(self.greatest, longest)
        return random.uniform(0, most)  # noqa: S311 - no secret


DEFAULT_BACKOFF = Backoff()


@stored_at("pyramid_zodb_async.options")
@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The options of a job that are kept with it.

    ``None`` stands for what the settings or the scheduler say.
    """

    #: How many runs may fail for a reason of :attr:`retry_on`, or end their
    #: process, before the job fails.
    attempts: int | None = None
    #: The exceptions after which the job is tried again, as
    #: ``module:qualname``; subclasses are meant as well.
    retry_on: tuple[str, ...] = ()
    #: How long it waits before that.
    backoff: Backoff = DEFAULT_BACKOFF
    #: How long a run may take, in seconds.
    time_limit: float | None = None
    #: Of the jobs that are due, the one with the greatest runs first.
    priority: int = 0
    #: Which processes run it, where others than those that schedule do.
    queue: str = DEFAULT_QUEUE
    #: How long its outcome is kept, in seconds from its end.
    result_timeout: float | None = None
    #: What people call it.
    title: str | None = None

    def covers(self, error: BaseException) -> bool:
        """Tell whether the job is to be tried again after *error*."""
        return bool(self.retry_on) and any(
            name_of_exception(kind) in self.retry_on
            for kind in type(error).__mro__
        )

    def stored(self) -> tuple[tuple[str, Any], ...]:
        """Give what differs from the defaults, as plain data."""
        if self is NO_OPTIONS:  # as nearly always
            return ()
        return tuple(
            (field.name, _plain(getattr(self, field.name)))
            for field in fields(self)
            if getattr(self, field.name) != field.default
        )

    @classmethod
    def load(cls, stored: tuple[tuple[str, Any], ...]) -> "Options":
        """Give what :meth:`stored` gave, of this version or another."""
        return _load(stored) if stored else NO_OPTIONS


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, tuple) else value


NO_OPTIONS = Options()


@functools.lru_cache(maxsize=512)
def _load(stored: tuple[tuple[str, Any], ...]) -> Options:
    known = {field.name for field in fields(Options)}
    values = {name: value for name, value in stored if name in known}
    if "backoff" in values:
        values["backoff"] = Backoff(*values["backoff"])
    return Options(**values)


def name_of_exception(kind: type) -> str:
    """Return the name of an exception class, as it is kept with a job.

    Args:
        kind: the class.

    Returns:
        ``module:qualname``, which other processes can compare.
    """
    return f"{kind.__module__}:{kind.__qualname__}"
