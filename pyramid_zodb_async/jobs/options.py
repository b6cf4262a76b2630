"""The options of a job, as they are stored with it."""

import functools
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from .class_paths import stored_at
from .exception_groups import leaves_of
from .translations import TranslatableText, loaded_text, plain_text

__all__ = [
    "DEFAULT_QUEUE",
    "NO_OPTIONS",
    "QUEUE_NAME",
    "Backoff",
    "Options",
    "name_of_exception",
]

#: The queue of a job whose options name none.
DEFAULT_QUEUE = "default"

#: The name under which the translation of a title is stored.
TITLE_TRANSLATION = "title_translation"

#: The allowed names of queues: all brokers accept these characters.
QUEUE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


@stored_at("pyramid_zodb_async.options")
class Backoff(NamedTuple):
    """How long a job waits before it is tried again.

    The longest wait is *first* seconds before the second attempt, and doubles
    before each further one, up to *greatest* seconds. The actual wait is a
    random part of it, so that jobs that failed together are not all tried
    again at the same time.
    """

    first: float = 5.0
    greatest: float = 3600.0

    def delay(self, failures: int) -> float:
        """Return how long to wait before the next attempt, in seconds.

        Args:
            failures: how many attempts have failed, from 1.
        """
        # the exponent is limited: a float cannot be multiplied by an int that
        # is too large for a float
        longest = self.first * 2 ** min(failures - 1, 60)
        most = min(self.greatest, longest)
        return random.uniform(0, most)  # noqa: S311 - no secret


DEFAULT_BACKOFF = Backoff()


@stored_at("pyramid_zodb_async.options")
@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The options of a job that are stored with it.

    ``None`` stands for the default of the settings or of the scheduler.
    """

    #: How many attempts may fail with an exception of :attr:`retry_on`, or
    #: end their process, before the job fails.
    attempts: int | None = None
    #: The exceptions after which the job is tried again, as
    #: ``module:qualname``; they include their subclasses.
    retry_on: tuple[str, ...] = ()
    #: How long it waits before it is tried again.
    backoff: Backoff = DEFAULT_BACKOFF
    #: How long a run may take, in seconds.
    time_limit: float | None = None
    #: Of the jobs that are due, the one with the greatest priority runs first.
    priority: int = 0
    #: The name of the queue that it waits in.
    queue: str = DEFAULT_QUEUE
    #: How long its outcome is stored after its end, in seconds.
    result_timeout: float | None = None
    #: A name of the job for people.
    title: str | None = None
    #: Whether one transaction may have runs of several such jobs.
    batched: bool = False

    def __setstate__(self, state: Iterable[Any]) -> None:
        """Load what an earlier version has pickled, which had fewer."""
        names = [field.name for field in fields(self)]
        values = dict(zip(names, state, strict=False))
        for field in fields(self):
            value = values.get(field.name, field.default)
            object.__setattr__(self, field.name, value)

    def covers(self, error: BaseException) -> bool:
        """Return whether the job may be tried again after *error*.

        After a group it may if :attr:`retry_on` has its class, or that of
        each exception in it.

        Args:
            error: what an attempt has raised.
        """
        return bool(self.retry_on) and (
            self._names(error) or all(map(self._names, leaves_of(error)))
        )

    def _names(self, error: BaseException) -> bool:
        """Return whether :attr:`retry_on` has the class of *error*."""
        return any(
            name_of_exception(kind) in self.retry_on
            for kind in type(error).__mro__
        )

    def stored(self) -> tuple[tuple[str, Any], ...]:
        """Return the pairs of name and value that differ from the defaults.

        They are plain data: a ``Backoff`` becomes a tuple.
        """
        if self is NO_OPTIONS:  # the usual case, made fast
            return ()
        stored = _stored(self)
        if isinstance(self.title, TranslatableText):
            # beside it, where earlier versions do not look
            stored += ((TITLE_TRANSLATION, self.title.translation),)
        return stored

    @classmethod
    def load(cls, stored: tuple[tuple[str, Any], ...]) -> "Options":
        """Return the options that :meth:`stored` has returned.

        Args:
            stored: pairs of name and value, also of another version of this
                package: names that this version does not know are ignored.
        """
        return _load(stored) if stored else NO_OPTIONS


@functools.lru_cache(maxsize=512)
def _stored(options: Options) -> tuple[tuple[str, Any], ...]:
    return tuple(
        (field.name, _plain(getattr(options, field.name)))
        for field in fields(options)
        if getattr(options, field.name) != field.default
    )


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return plain_text(value)
    return tuple(value) if isinstance(value, tuple) else value


NO_OPTIONS = Options()


@functools.lru_cache(maxsize=512)
def _load(stored: tuple[tuple[str, Any], ...]) -> Options:
    known = {field.name for field in fields(Options)}
    values = {name: value for name, value in stored if name in known}
    if "backoff" in values:
        values["backoff"] = Backoff(*values["backoff"])
    if "title" in values:
        values["title"] = loaded_text(
            values["title"], dict(stored).get(TITLE_TRANSLATION)
        )
    return Options(**values)


def name_of_exception(kind: type) -> str:
    """Return the name of an exception class, as it is stored with a job.

    Args:
        kind: the class.

    Returns:
        The name as ``module:qualname``, which other processes can compare.
    """
    return f"{kind.__module__}:{kind.__qualname__}"
