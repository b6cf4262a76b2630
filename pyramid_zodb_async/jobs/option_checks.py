"""The checks of the options that a job is given."""

import datetime
import difflib
import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .options import QUEUE_NAME, Backoff, name_of_exception
from .plain_numbers import plain_number
from .translations import as_text

__all__ = ["checked", "checked_spread"]

#: A priority is not greater than this, and not less than its negative.
GREATEST_PRIORITY = 1_000_000

#: How long a job may be made to wait, in seconds: a thousand years. The moment
#: at which it is due is one that a ``datetime`` can have, also after a spread.
LONGEST_WAIT = 1000 * 365.25 * 24 * 3600

#: The same as a part of a sentence.
AT_MOST = "no more than a thousand years"

#: How many characters a title may have.
LONGEST_TITLE = 200


def checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Check options, and convert them to what the rest of the package uses.

    Args:
        options: options by name, as an application gives them. A value may be
            ``None``, for the default.

    Returns:
        The options by name: times and periods are numbers of seconds, and
        exceptions are names, as ``name_of_exception`` returns them.

    Raises:
        TypeError: there is no such option, or its value is of a wrong type.
        ValueError: the value is of the right type, but not allowed.
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


def checked_spread(value: Any) -> float:
    """Return the argument *spread* of ``many()`` as seconds.

    Args:
        value: seconds or a ``timedelta``; ``None`` stands for 0.

    Raises:
        TypeError: it is of a wrong type.
        ValueError: it is negative, or more than a thousand years.
    """
    return 0.0 if value is None else _wait("spread", value)


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, _CHECKS, n=1)
    hint = f"there are {', '.join(_CHECKS)}"
    if close:
        hint = f"did you mean {close[0]!r}?"
    return f"A job takes no option {name!r}: {hint}"


def _whole(least: int, most: float) -> Callable[[str, Any], int]:
    def check(name: str, value: Any) -> int:
        number = plain_number(value)
        if not isinstance(number, int):
            raise TypeError(_refusal(name, "a whole number", value))
        if not least <= number <= most:
            upper = f" to {most}" if most < math.inf else ""
            raise ValueError(
                _refusal(name, f"a whole number from {least}{upper}", value)
            )
        return number

    return check


def _seconds(
    name: str, value: Any, allowed: str = "seconds, 0 or more"
) -> float:
    if isinstance(value, datetime.timedelta):
        seconds = value.total_seconds()
    else:
        number = plain_number(value)
        if number is None:
            raise TypeError(_refusal(name, "seconds or a timedelta", value))
        try:
            seconds = float(number)
        except OverflowError:  # an int that is too large for a float
            seconds = math.inf
    if not 0 <= seconds < math.inf:
        raise ValueError(_refusal(name, allowed, value))
    return seconds


def _wait(name: str, value: Any) -> float:
    allowed = f"seconds, 0 or more and {AT_MOST}"
    seconds = _seconds(name, value, allowed)
    if seconds > LONGEST_WAIT:
        raise ValueError(_refusal(name, allowed, value))
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
    first, *rest = (_wait(name, part) for part in pair)
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
    return tuple(map(name_of_exception, kinds))


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
    moment = value.timestamp()
    if moment > time.time() + LONGEST_WAIT:
        allowed = f"a datetime with a time zone, {AT_MOST} from now"
        raise ValueError(_refusal(name, allowed, value))
    return moment


def _title(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(_refusal(name, "a text", value))
    title = as_text(value, LONGEST_TITLE + 1)
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


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(_refusal(name, "True or False", value))
    return value


def _refusal(name: str, allowed: str, value: Any) -> str:
    return f"The option {name!r} takes {allowed}, not {value!r}"


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "attempts": _whole(1, math.inf),
    "retry_on": _exceptions,
    "backoff": _backoff,
    "delay": _wait,
    "at": _moment,
    "time_limit": _some_seconds,
    "priority": _whole(-GREATEST_PRIORITY, GREATEST_PRIORITY),
    "queue": _queue,
    "result_timeout": _seconds,
    "title": _title,
    "batched": _flag,
}
