"""What a job calls: functions that can be a job, and how they are named."""

import functools
import inspect
import pkgutil
import sys
import types
from collections.abc import Callable
from typing import Any, TypeVar

from pyramid.interfaces import IRequest
from ZODB.Connection import Connection

from ..database.connections import ThreadConnections
from ..exceptions import (
    ArgumentNotTransferable,
    JobNotLoadable,
    NotTransferable,
)
from .references import dump, name_of

__all__ = [
    "KNOWN_BY_NAME",
    "Function",
    "callable_of",
    "check_call",
    "function_name",
    "require_transferable",
    "stored_form",
]

Function = Callable[..., Any]
T = TypeVar("T")

#: Functions and classes hold no state of a thread, and are found by their
#: names.
KNOWN_BY_NAME = (types.FunctionType, type)


def require_transferable(
    check: Callable[[Any], T],
    function: Function,
    travelling: object,
    args: tuple[Any, ...],
    named_args: dict[str, Any],
) -> T:
    """Give what *check* makes of a call, or name the part it refuses.

    Args:
        check: raises :class:`NotTransferable` for what cannot travel.
        function: what is called, to be named.
        travelling: what of it travels with the arguments.
        args: the positional arguments.
        named_args: the named arguments.

    Raises:
        ArgumentNotTransferable: *check* refused something.
    """
    try:
        return check((travelling, args, named_args))
    except NotTransferable as error:
        refused = error
    try:
        check(travelling)
    except NotTransferable as cause:
        raise ArgumentNotTransferable(
            f"{function!r} cannot be a job: {cause}{cause.foreign}"
        ) from cause
    for name, value in _by_name(args, named_args):
        try:
            check(value)
        except NotTransferable as cause:
            raise ArgumentNotTransferable(
                f"Argument {name} of {function_name(function)}() cannot go to"
                f" a job: {_advice(value) or f'{cause}{cause.foreign}'}"
            ) from cause
    raise ArgumentNotTransferable(
        f"The arguments of {function_name(function)}() cannot go to a job:"
        f" {refused}{refused.foreign}"
    ) from refused


def _by_name(
    args: tuple[Any, ...], named_args: dict[str, Any]
) -> list[tuple[str, Any]]:
    numbered = [(str(number), value) for number, value in enumerate(args, 1)]
    return numbered + [(repr(name), arg) for name, arg in named_args.items()]


def function_name(function: Function) -> str:
    """Name *function* for people, as ``module:qualname``."""
    if isinstance(function, functools.partial):
        return function_name(function.func)
    if not hasattr(function, "__qualname__"):
        function = type(function)
    return f"{function.__module__}:{function.__qualname__}"


def check_call(
    function: Any, args: tuple[Any, ...], named_args: dict[str, Any]
) -> None:
    """Refuse what cannot be a job, and what cannot be called so.

    Raises:
        TypeError: it is one of these.
    """
    look_at = _look_at
    if isinstance(function, KNOWN_BY_NAME):
        look_at = _look_at_once
    signature = look_at(function)
    if signature is None:
        return
    try:
        signature.bind(*args, **named_args)
    except TypeError as error:
        raise TypeError(
            f"{function_name(function)}{signature} cannot be called with the"
            f" arguments given to schedule(): {error}"
        ) from None


def _look_at(function: Any) -> inspect.Signature | None:
    """Refuse what cannot be a job, and tell how it is called, if known."""
    if not callable(function):
        raise TypeError(
            f"A job needs something to call, and {function!r} is not callable"
        )
    for body in (function, getattr(function, "__call__", None)):  # noqa: B004
        for runs_later, kind in _LAZY:
            if runs_later(body):
                raise TypeError(
                    f"{function!r} cannot be a job: calling {kind} function"
                    " only prepares its work; wrap it in a plain function"
                    " that does it"
                )
    if "<" in getattr(function, "__qualname__", ""):
        raise TypeError(
            f"{function!r} cannot be a job: a lambda or inner function can"
            " hold objects of this thread and cannot be found again by its"
            " name; use a function of a module and pass what it needs as"
            " arguments"
        )
    if isinstance(function, KNOWN_BY_NAME):
        _require_shared(function)
    try:
        return inspect.signature(function)
    except ValueError:
        return None  # a builtin that does not tell


def _require_shared(function: Any) -> None:
    """Refuse a function that may hold objects of the calling thread.

    One that its module knows by its name is the module's own. In a session
    or a script's ``__main__``, where that cannot always be told, it must hold
    nothing that belongs to a database.
    """
    if _find(function.__module__, function.__qualname__) is function:
        return
    if function.__module__ == "__main__" and not _holds_references(function):
        return
    raise TypeError(
        f"{function!r} cannot be a job: it is not what"
        f" {function_name(function)} is, and may hold objects of this thread;"
        " use a function of a module and pass what it needs as arguments"
    )


def _find(module: str, qualname: str) -> Any:
    found = sys.modules.get(module)
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return found


def _holds_references(function: Any) -> bool:
    """Tell whether defaults and closures hold more than plain values."""
    held: list[Any] = []
    seen = [function]
    for part in seen:  # which grows
        if isinstance(part, types.FunctionType):
            holds = [cell.cell_contents for cell in part.__closure__ or ()]
            holds += part.__defaults__ or ()
            holds += (part.__kwdefaults__ or {}).values()
            known = {id(old) for old in seen}
            seen += [new for new in holds if id(new) not in known]
        else:
            held.append(part)
    try:
        return bool(dump(held, ThreadConnections()).shared)
    except NotTransferable:
        return True


_LAZY = (
    (inspect.iscoroutinefunction, "a coroutine"),
    (inspect.isgeneratorfunction, "a generator"),
    (inspect.isasyncgenfunction, "an asynchronous generator"),
)

#: To look costs more than all the rest of a small job.
_look_at_once = functools.lru_cache(maxsize=512)(_look_at)


def _advice(value: object) -> str | None:
    if IRequest.providedBy(value):
        return (
            "a request ends before the job begins; pass the values that the"
            " job needs of it"
        )
    if isinstance(value, Connection):
        return (
            "a connection belongs to its thread; pass a persistent object, or"
            " let the job use pyramid_zodbconn.get_connection()"
        )
    return None


def stored_form(function: Callable[..., Any]) -> Any:
    """Give what the database keeps of *function*.

    That is its name, ``module:qualname``, where importing gives the same
    again; the object and the name of a bound method; else a tuple of just
    the callable, as it is pickled.

    Raises:
        TypeError: another process could not find it by its name.
    """
    if isinstance(function, types.MethodType):
        owner, name = function.__self__, function.__name__
        if not isinstance(owner, type):
            if getattr(owner, name, None) != function:
                raise TypeError(
                    f"{function!r} cannot be a job: its object has no method"
                    f" {name!r} that is the same"
                )
            _refuse_main(owner)
            return owner, name
        # of the class that it was asked from, which may have inherited it
        name = f"{function_name(owner)}.{name}"
    elif isinstance(function, KNOWN_BY_NAME):
        name = function_name(function)
    else:
        _refuse_main(function)
        return (function,)
    _refuse_main(function, name)
    try:
        found = pkgutil.resolve_name(name)
    except (AttributeError, ImportError, ValueError) as error:
        raise TypeError(
            f"{function!r} cannot be a job: {name} cannot be imported"
            f" ({error})"
        ) from None
    if found != function:
        raise TypeError(
            f"{function!r} cannot be a job: it is not what {name} is, so that"
            " another process would not find it"
        )
    return name


def _refuse_main(function: Any, name: str = "") -> None:
    """Refuse what belongs to the module that was started."""
    name = name or f"{type(function).__module__}:"
    if isinstance(function, functools.partial):
        name = function_name(function)
    if name.startswith(("__main__:", "__mp_main__:")):
        raise TypeError(
            f"{function!r} cannot be a job: the process that runs it has"
            " another __main__; use a function of a module"
        )


def callable_of(stored: Any) -> Callable[..., Any]:
    """Give what :func:`stored_form` was made of.

    Raises:
        JobNotLoadable: it is gone.
    """
    if isinstance(stored, tuple):
        if len(stored) == 1:
            return stored[0]  # type: ignore[no-any-return]
        owner, name = stored
        try:
            method: Callable[..., Any] = getattr(owner, name)
        except AttributeError as error:
            raise JobNotLoadable(
                f"{name_of(owner)} has no method {name!r} any more"
            ) from error
        return method
    try:
        function = pkgutil.resolve_name(stored)
    except (AttributeError, ImportError, ValueError) as error:
        raise JobNotLoadable(
            f"Code that the job refers to is gone: {stored}"
        ) from error
    if not callable(function):
        raise JobNotLoadable(f"{stored} cannot be called any more")
    return function  # type: ignore[no-any-return]
