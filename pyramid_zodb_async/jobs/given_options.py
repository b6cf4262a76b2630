"""The options that a job gets from its function and the scheduling call."""

import functools
import time
import types
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..concurrency.moments import EndOfPause
from .option_checks import checked
from .options import NO_OPTIONS, Options

__all__ = ["NONE_GIVEN", "job", "merged", "resolved"]

F = TypeVar("F", bound=Callable[..., Any])

#: The attribute of a function that has the options from :func:`job`.
ATTRIBUTE = "__job_options__"

#: The options of a scheduling call that names none.
NONE_GIVEN: Mapping[str, Any] = types.MappingProxyType({})


def job(**options: Any) -> Callable[[F], F]:
    """Set options that a function has whenever it is scheduled.

    It stays an ordinary function. ``with_options`` takes the same options for
    one call of ``schedule()``; they take precedence over these::

        @job(attempts=5, retry_on=ConnectionError, time_limit=60)
        def fetch_rates(day): ...

    Args:
        attempts: how many attempts may fail with an exception of *retry_on*,
            or end their process, before the job fails; a whole number from 1.
            The default is the setting ``zodb_async.attempts``.
        retry_on: an exception class, or several in a tuple, after which the
            job is tried again. After any other exception it fails at once.
            By default there are none.
        backoff: the longest wait before the second attempt, in seconds. It
            doubles with each further attempt, up to an hour; a pair sets the
            first and the greatest wait. The default is (5, 3600). The actual
            wait is a random part of it.
        delay: how long the job waits before its first run, in seconds or as a
            ``timedelta``.
        time_limit: how long a run may take, in seconds or as a
            ``timedelta``. A job that takes longer fails with
            :exc:`~pyramid_zodb_async.JobTimeout`, and leaves no effects. The
            default is the setting ``zodb_async.time_limit``.
        priority: a whole number; of the jobs that are due, the one with the
            greatest priority runs first. The default is 0.
        queue: the name of the queue that the job waits in. With the engine
            ``celery``, it decides which processes run the job; see the
            setting ``zodb_async.queues``. Other engines have one queue for
            all names. The default is ``"default"``.
        result_timeout: how long the outcome is stored after the job's end, in
            seconds or as a ``timedelta``. The default is the setting
            ``zodb_async.result_timeout``.
        title: a name of the job for people, a line of text or a translation
            string.
        batched: whether several such jobs that wait may be run in one
            transaction, if they are in the database and threads of the
            process run them. It is for short functions that use nothing but
            the ZODB. The default is ``False``.

    Returns:
        A decorator, which sets the options and returns the same function.

    Raises:
        TypeError: there is no such option, a value is of a wrong type, or
            what is decorated is not callable.
        ValueError: a value is of the right type, but not allowed.
    """
    if "at" in options:
        raise TypeError(
            "@job() takes no option 'at': a function has no moment of its"
            " own; give it when you schedule, by with_options(at=…)"
        )
    given = checked(options)

    def decorate(function: F) -> F:
        if not callable(function):
            raise TypeError(f"@job() decorates a function, not {function!r}")
        function.__job_options__ = given  # type: ignore[attr-defined]
        return function

    return decorate


def merged(
    options: Mapping[str, Any], later: Mapping[str, Any]
) -> dict[str, Any]:
    """Return *options* updated by the *later* ones.

    The options ``delay`` and ``at`` exclude each other, so a later one
    removes the other.

    Args:
        options: options by name, as ``checked`` returns them.
        later: options of the same form, which take precedence.
    """
    values = {**options, **later}
    if later.get("at") is not None:
        values.pop("delay", None)
    elif later.get("delay") is not None:
        values.pop("at", None)
    return values


def resolved(
    function: Any, given: Mapping[str, Any]
) -> tuple[Options, float | None]:
    """Return the options of a job, and when it is due.

    Args:
        function: what is scheduled. It may have options from :func:`job`; a
            ``functools.partial`` without any has those of its function.
        given: the options of this scheduling call, as ``checked`` returns
            them. They take precedence.

    Returns:
        The options, and the time before which the job is not to run, in
        seconds since the epoch; ``None`` if it may run at once. After a delay
        it is an :class:`~pyramid_zodb_async.concurrency.moments.EndOfPause`.
    """
    own = getattr(function, ATTRIBUTE, None)
    if own is None and isinstance(function, functools.partial):
        return resolved(function.func, given)
    if not (given or own):
        return NO_OPTIONS, None
    values = merged(own or {}, given)
    delay, due = values.pop("delay", None), values.pop("at", None)
    if delay is not None:
        due = EndOfPause.after(delay) if delay > 0 else None
    elif due is not None and due <= time.time():
        due = None
    if "title" in values:  # it may have a translation, which does not compare
        return _options(values), due
    return _known_options(tuple(values.items())), due


@functools.lru_cache(maxsize=512)
def _known_options(values: tuple[tuple[str, Any], ...]) -> Options:
    """Return the options that have these values, the same for the same."""
    return _options(dict(values))


def _options(values: dict[str, Any]) -> Options:
    # the value None stands for the default, as if the option were not given
    return Options(
        **{name: value for name, value in values.items() if value is not None}
    )
