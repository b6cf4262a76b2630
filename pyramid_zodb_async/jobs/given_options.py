"""Which options a job was given: by its function, and by who schedules it."""

import functools
import time
import types
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from .option_checks import checked
from .options import NO_OPTIONS, Options

__all__ = ["NONE_GIVEN", "job", "merged", "resolved"]

F = TypeVar("F", bound=Callable[..., Any])

#: Where a function keeps the options that :func:`job` gave it.
ATTRIBUTE = "__job_options__"

#: When no options are given beside those of the function.
NONE_GIVEN: Mapping[str, Any] = types.MappingProxyType({})


def job(**options: Any) -> Callable[[F], F]:
    """Give a function options for whenever it is scheduled.

    It stays an ordinary function. ``with_options`` takes the same, and goes
    before::

        @job(attempts=5, retry_on=ConnectionError, time_limit=60)
        def fetch_rates(day): ...

    Args:
        attempts: how many runs may fail for a reason of *retry_on*, or end
            their process, before the job fails; a whole number from 1.
            ``zodb_async.attempts`` unless given.
        retry_on: an exception or several, after which the job is tried again;
            after any other it fails at once.
        backoff: how long it waits before that, in seconds: a number, the most
            before the second attempt, which doubles with each further one up
            to an hour, or a pair of that number and what it goes up to.
            (5, 3600) unless given. Chance makes each wait shorter.
        delay: how long it waits before its first run, in seconds or as a
            ``timedelta``.
        time_limit: how long a run may take, in seconds or as a
            ``timedelta``. A job that takes longer fails with
            :exc:`~pyramid_zodb_async.JobTimeout`, and leaves no effects.
        priority: a whole number; of the jobs that are due, the one with the
            greatest runs first. 0 unless given.
        queue: the name of the queue that it waits in, which tells Celery's
            workers apart; see ``zodb_async.queues``. ``"default"`` unless
            given. Other engines have one queue, whatever the name.
        result_timeout: how long its outcome is kept, in seconds or as a
            ``timedelta``. ``zodb_async.result_timeout`` unless
            given.
        title: what people call it, a line of text.

    Raises:
        TypeError: there is no such option, or its value is of a wrong type.
        ValueError: the value is of that type, but makes no sense.
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
    """Give *options* with what was said *later*; both are checked.

    When a job is to run is said by one of two options.
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
    """Give the options of a job, and when it is due.

    That is in seconds since the epoch, or ``None`` for at once.

    Args:
        function: what is scheduled; may have options by :func:`job`.
        given: those of this one time, as :func:`checked` gives them.
    """
    own = getattr(function, ATTRIBUTE, None)
    if own is None and isinstance(function, functools.partial):
        return resolved(function.func, given)
    if not (given or own):
        return NO_OPTIONS, None
    values = merged(own or {}, given)
    delay, due = values.pop("delay", None), values.pop("at", None)
    now = time.time()
    if delay is not None:
        due = now + delay
    if due is not None and due <= now:
        due = None
    # to say None is to say what nobody has said
    values = {name: it for name, it in values.items() if it is not None}
    return Options(**values), due
