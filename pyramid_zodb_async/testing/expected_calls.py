"""The comparison of the calls of jobs with those that a test expects."""

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any, NamedTuple

from persistent import Persistent

from ..transfer.callables import function_name
from ..transfer.references import name_of

__all__ = ["ExpectedCall", "describe_call"]


class _Reference(NamedTuple):
    """Identifies a persistent object, whichever connection has loaded it."""

    database: str
    oid: bytes
    name: str

    def __repr__(self) -> str:
        number = int.from_bytes(self.oid, "big")
        return f"<{self.name.removeprefix('the ')}, oid {number:#x}>"


def _plain(value: Any) -> Any:
    """Return *value* with references instead of persistent objects.

    They are replaced in lists, tuples, sets and dicts, at any depth.

    Raises:
        ValueError: a persistent object is in no database, so it is not equal
            to any other.
    """
    if isinstance(value, type):
        return value
    if isinstance(value, Persistent):
        if value._p_jar is None or value._p_oid is None:
            raise ValueError(
                f"{name_of(value)} is new, and no job's argument: compare"
                " with the object that was committed"
            )
        database = value._p_jar.db().database_name
        return _Reference(database, value._p_oid, name_of(value))
    if type(value) in {list, tuple, set, frozenset}:
        return type(value)(map(_plain, value))
    if type(value) is dict:
        return {_plain(key): _plain(value[key]) for key in value}
    return value


def _plain_function(function: Any) -> Any:
    """Return what identifies a function, whichever connection loaded it."""
    if isinstance(function, types.MethodType):
        return _plain(function.__self__), function.__name__
    return _plain(function)


class ExpectedCall:
    """A call that a test expects of a job.

    Args:
        function: what is called.
        args: its positional arguments.
        named_args: its named arguments.

    Raises:
        TypeError: *function* cannot be called with these arguments.
        ValueError: a persistent object in the call is in no database.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        named_args: dict[str, Any],
    ) -> None:
        # merges with *function* if that is a partial itself, as in the
        # stored call of a job
        call = functools.partial(function, *args, **named_args)
        self._text = describe_call(call)
        self._signature = _signature(call.func)
        self._function = _plain_function(call.func)
        try:
            self._arguments = self._bind(call.args, call.keywords)
        except TypeError as error:
            raise TypeError(
                f"{self._text} is no call that a job could make: {error}"
            ) from None

    def __str__(self) -> str:
        return self._text

    def _bind(self, args: tuple[Any, ...], named_args: dict[str, Any]) -> Any:
        """Return arguments by name, however they were passed."""
        if self._signature is None:
            return _plain(args), _plain(named_args)
        bound = self._signature.bind(*args, **named_args)
        bound.apply_defaults()
        return _plain(dict(bound.arguments))

    def equals(self, call: "functools.partial[Any]") -> bool:
        """Return whether a job makes the expected call.

        Args:
            call: the call of the job.
        """
        return bool(
            _plain_function(call.func) == self._function
            and self._bind(call.args, call.keywords) == self._arguments
        )


def _signature(function: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except ValueError:
        return None  # some builtins have none


def describe_call(call: "functools.partial[Any]") -> str:
    """Return a call as a text, for the error of a failed assertion.

    Args:
        call: the call.

    Raises:
        ValueError: a persistent object in it is in no database.
    """
    arguments = [repr(_plain(value)) for value in call.args]
    arguments += [
        f"{name}={_plain(value)!r}" for name, value in call.keywords.items()
    ]
    function: Any = call.func
    name = function_name(function)
    if isinstance(function, types.MethodType):
        name = f"{_plain(function.__self__)!r}.{function.__name__}"
    return f"{name}({', '.join(arguments)})"
