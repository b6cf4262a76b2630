"""What a job may be told of how it is to be run: its options."""

import datetime
import difflib
import functools
import math
import random
import re
import time
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, TypeVar

__all__ = [
    "DEFAULT_QUEUE",
    "NONE_GIVEN",
    "NO_OPTIONS",
    "QUEUE_NAME",
    "Backoff",
    "Options",
    "checked",
    "job",
    "merged",
    "resolved",
]

F = TypeVar("F", bound=Callable[..., Any])

#: Where a function keeps the options that :func:`job` gave it.
ATTRIBUTE = "__job_options__"

#: Priorities are within so many of 0.
GREATEST_PRIORITY = 1_000_000

#: The queue of a job that names none.
DEFAULT_QUEUE = "default"

#: What a queue may be called; brokers know these characters.
QUEUE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")

#: A title is a line for people.
LONGEST_TITLE = 200


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
            _name(kind) in self.retry_on for kind in type(error).__mro__
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

#: When no options are given beside those of the function.
NONE_GIVEN: Mapping[str, Any] = types.MappingProxyType({})


@functools.lru_cache(maxsize=512)
def _load(stored: tuple[tuple[str, Any], ...]) -> Options:
    known = {field.name for field in fields(Options)}
    values = {name: value for name, value in stored if name in known}
    if "backoff" in values:
        values["backoff"] = Backoff(*values["backoff"])
    return Options(**values)


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


def checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Give *options* in the one form that the rest of the package knows.

    Raises:
        TypeError: there is no such option, or its value is of a wrong type.
        ValueError: the value is of that type, but makes no sense.
    """
    given = {}
    for name, value in options.items():
        check = _CHECKS.get(name)
        if check is None:
            raise TypeError(_unknown(name))
        given[name] = None if value is None else check(name, value)
    if given.get("delay") is not None and given.get("at") is not None:
        raise ValueError(
            "A job takes either the option 'delay' or 'at', not both"
        )
    return given


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


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, _CHECKS, n=1)
    hint = f"there are {', '.join(_CHECKS)}"
    if close:
        hint = f"did you mean {close[0]!r}?"
    return f"A job takes no option {name!r}: {hint}"


# -- Checks -------------------------------------------------------------------


def _whole(least: int, most: float) -> Callable[[str, Any], int]:
    def check(name: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(_refusal(name, "a whole number", value))
        if not least <= value <= most:
            upper = f" to {most}" if most < math.inf else ""
            raise ValueError(
                _refusal(name, f"a whole number from {least}{upper}", value)
            )
        return int(value)

    return check


def _seconds(name: str, value: Any) -> float:
    if isinstance(value, datetime.timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(_refusal(name, "seconds or a timedelta", value))
    else:
        try:
            seconds = float(value)
        except OverflowError:  # no float is as large
            seconds = math.inf
    if not 0 <= seconds < math.inf:
        raise ValueError(_refusal(name, "seconds, 0 or more", value))
    return seconds


def _some_seconds(name: str, value: Any) -> float:
    seconds = _seconds(name, value)
    if not seconds:
        raise ValueError(_refusal(name, "seconds, more than 0", value))
    return seconds


def _backoff(name: str, value: Any) -> Backoff:
    pair = value if isinstance(value, tuple | list) else (value,)
    if not 1 <= len(pair) <= len(Backoff._fields):
        raise TypeError(
            _refusal(name, "seconds, or a pair (first, greatest)", value)
        )
    first, *rest = (_seconds(name, part) for part in pair)
    backoff = Backoff(first, *rest)
    if not rest:
        return backoff._replace(greatest=max(first, backoff.greatest))
    if backoff.greatest < first:
        raise ValueError(
            _refusal(name, "a pair (first, greatest) in that order", value)
        )
    return backoff


def _exceptions(name: str, value: Any) -> tuple[str, ...]:
    allowed = "an exception class, or several in a tuple"
    kinds = (value,) if isinstance(value, type) else value
    if isinstance(kinds, str) or not isinstance(kinds, Iterable):
        raise TypeError(_refusal(name, allowed, value))
    kinds = tuple(kinds)
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise TypeError(_refusal(name, allowed, kind))
    return tuple(map(_name, kinds))


def _name(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _moment(name: str, value: Any) -> float:
    if not isinstance(value, datetime.datetime):
        raise TypeError(_refusal(name, "a datetime", value))
    if value.utcoffset() is None:
        raise ValueError(
            _refusal(
                name,
                "a datetime with a time zone, such as"
                " datetime.now(timezone.utc) + timedelta(hours=1)",
                value,
            )
        )
    return value.timestamp()


def _title(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(_refusal(name, "a text", value))
    # subclasses, as translation strings are, may hold anything
    title = str.__str__(value)
    if not title.strip() or len(title) > LONGEST_TITLE:
        raise ValueError(
            _refusal(name, f"a text of 1 to {LONGEST_TITLE} characters", value)
        )
    return title


def _queue(name: str, value: Any) -> str:
    allowed = (
        "the name of a queue: 1 to 100 letters, digits, '_', '-' and '.', the"
        " first a letter or digit"
    )
    if not isinstance(value, str):
        raise TypeError(_refusal(name, allowed, value))
    if not QUEUE_NAME.fullmatch(value):
        raise ValueError(_refusal(name, allowed, value))
    return value


def _refusal(name: str, allowed: str, value: Any) -> str:
    return f"The option {name!r} takes {allowed}, not {value!r}"


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "attempts": _whole(1, math.inf),
    "retry_on": _exceptions,
    "backoff": _backoff,
    "delay": _seconds,
    "at": _moment,
    "time_limit": _some_seconds,
    "priority": _whole(-GREATEST_PRIORITY, GREATEST_PRIORITY),
    "queue": _queue,
    "result_timeout": _seconds,
    "title": _title,
}
