"""Many calls at once: how they are given, and the sids of their jobs."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, overload

from ..concurrency.moments import EndOfPause
from ..exceptions import BulkTooLarge

__all__ = ["Sids", "due_times", "name_call", "normalised_calls"]

#: How many sids the ``repr()`` of a sequence shows.
SHOWN = 3


def normalised_calls(
    calls: Iterable[Any], most: int
) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Yield the arguments of each call, as ``schedule_calls`` takes them.

    The n-th that it yields, from 0, is of the n-th call: an error about it
    can name that by :func:`name_call`.

    Args:
        calls: the calls, as they are given to ``many()``: each is a tuple of
            positional arguments, or a pair of such a tuple and a dict of
            named ones. It is iterated over once, and what it raises passes.
        most: how many there may be. One more is asked for, and no further.

    Yields:
        The positional and the named arguments. The dict is a copy.

    Raises:
        TypeError: *calls* cannot be iterated over, or one of them is no call;
            the text has its index.
        BulkTooLarge: there are more than *most*.
    """
    try:
        given = iter(calls)
    except TypeError:
        raise TypeError(
            "many() takes the calls as an iterable of tuples, and"
            f" {_kind_of(calls)} is none"
        ) from None
    for index, call in enumerate(given):
        if index >= most:
            raise BulkTooLarge(
                f"many() was given more than {most} calls, which is the most"
                " that the setting zodb_async.max_bulk (of a scheduler of"
                " your own: max_bulk) allows: raise it, or schedule them by"
                " several transactions"
            )
        if not isinstance(call, tuple):
            raise TypeError(
                f"call {index} is {_kind_of(call)}; write {_advice(call)}"
            )
        match call:
            case (tuple() as args, dict() as named_args):
                yield tuple(args), dict(named_args)
            case _:
                yield tuple(call), {}


def _kind_of(value: object) -> str:
    name = type(value).__name__
    return f"an {name}" if name[0].lower() in "aeiou" else f"a {name}"


def _advice(value: object) -> str:
    """Return how to write a call that was given as *value*."""
    if isinstance(value, list):
        return "tuple(value), or (value,) if it is one argument"
    if isinstance(value, dict):
        return "((), value), or (value,) if it is one argument"
    return "(value,)"


def name_call(index: int, error: Exception) -> None:
    """Put the index of a call into the text of an error about it.

    Args:
        index: the index of the call, from 0.
        error: what ``schedule()`` would raise for that call alone. It is
            changed, and stays what it is otherwise.
    """
    error.args = f"call {index}: {error}", *error.args[1:]


def due_times(
    due: float | None, spread: float, number: int
) -> Iterator[float | None]:
    """Yield when each of many jobs is due.

    Args:
        due: when a single job would be due, as ``resolved`` returns it: in
            seconds since the epoch, or ``None`` for at once.
        spread: the seconds over which the beginnings are spread evenly: the
            first is due at *due*, and the last a step before the end. With 0
            all are due at *due*.
        number: how many jobs there are.
    """
    yield from (due for _ in range(number if not spread else min(number, 1)))
    if not spread:
        return
    first = EndOfPause.after(0) if due is None else due
    for index in range(1, number):
        later = spread * index / number
        if isinstance(first, EndOfPause):
            yield EndOfPause(first + later, first.counted + later)
        else:
            yield first + later


class Sids(Sequence[str]):
    """The sids of many jobs, in the order of their calls.

    It cannot be changed, and makes a sid when it is asked for it. It equals
    a tuple and a list of the same sids. Pickled, in an argument or a result
    of a job or in what the database stores, it is a tuple.

    Args:
        indexes: the indexes of the jobs.
        sid_at: returns the sid of the job with an index.
    """

    __slots__ = ("_indexes", "_sid_at")

    def __init__(self, indexes: range, sid_at: Callable[[int], str]) -> None:
        self._indexes = indexes
        self._sid_at = sid_at

    @classmethod
    def of(cls, sids: Iterable[str]) -> "Sids":
        """Return a sequence of sids that are made already.

        Args:
            sids: the sids.
        """
        made = tuple(sids)
        return cls(range(len(made)), lambda index: made[index])

    def __len__(self) -> int:
        return len(self._indexes)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> "Sids": ...

    def __getitem__(self, index: int | slice) -> "str | Sids":
        if not isinstance(index, slice):
            return self._sid_at(self._indexes[index])
        return Sids(self._indexes[index], self._sid_at)

    def __iter__(self) -> Iterator[str]:
        return map(self._sid_at, self._indexes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sids | tuple | list):
            return NotImplemented
        return len(self) == len(other) and all(
            mine == theirs for mine, theirs in zip(self, other, strict=True)
        )

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self[:SHOWN]))
        left = len(self) - SHOWN
        return f"<Sids [{shown}{f', … and {left} more' * (left > 0)}]>"

    def __reduce__(self) -> tuple[Any, ...]:
        return tuple, (tuple(self),)

    def __json__(self, request: Any) -> list[str]:
        """Return the sids as Pyramid's JSON renderer shows them.

        Args:
            request: the request.
        """
        return list(self)
