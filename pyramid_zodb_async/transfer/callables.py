"""The functions that jobs call: which are allowed, and how they are stored."""

import functools
import inspect
import pkgutil
import sys
import types
from collections.abc import Callable
from typing import Any, TypeVar

from ..database.connections import ThreadConnections
from ..exceptions import (
    ArgumentNotTransferable,
    JobNotLoadable,
    NotTransferable,
)
from ..jobs.lazy_functions import LAZY
from .envelopes import dump
from .references import name_of

__all__ = [
    "KNOWN_BY_NAME",
    "Function",
    "argument_check",
    "callable_of",
    "check_call",
    "function_name",
    "require_transferable",
    "stored_form",
]

Function = Callable[..., Any]
T = TypeVar("T")

#: The types of what is not pickled but found by its name: functions and
#: classes, which all threads share.
KNOWN_BY_NAME = (types.FunctionType, type)


def require_transferable(
    check: Callable[[Any], T],
    function: Function,
    travelling: object,
    args: tuple[Any, ...],
    named_args: dict[str, Any],
) -> T:
    """Check a call, and raise an error that names the part that is refused.

    Args:
        check: returns its argument in another form, or raises
            ``NotTransferable`` if that cannot be passed to another thread.
        function: what is called, for the error.
        travelling: the part of the function that is passed on with the
            arguments, such as the object of a bound method.
        args: the positional arguments.
        named_args: the named arguments.

    Returns:
        What *check* returns for the triple of *travelling*, *args* and
        *named_args*.

    Raises:
        ArgumentNotTransferable: *check* has refused something.
    """
    try:
        return check((travelling, args, named_args))
    except NotTransferable as error:
        refused = error
    # only now, for the error: to check each part by itself takes longer
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
                f" a job: {cause}{cause.foreign}"
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
    """Return the name of a function, as ``module:qualname``.

    Args:
        function: anything that can be called. A partial has the name of its
            function, and an object without a name, or without a module, has
            that of its class.
    """
    if isinstance(function, functools.partial):
        return function_name(function.func)
    try:
        return f"{function.__module__}:{function.__qualname__}"
    except AttributeError:
        kind = type(function)
        return f"{kind.__module__}:{kind.__qualname__}"


def check_call(
    function: Any, args: tuple[Any, ...], named_args: dict[str, Any]
) -> None:
    """Refuse a function that cannot be a job, and arguments that do not fit.

    Args:
        function: what the job would call.
        args: the positional arguments.
        named_args: the named arguments.

    Raises:
        TypeError: the function cannot be a job, or cannot be called with
            these arguments.
    """
    # bind() takes many times the work
    if (
        named_args
        or not isinstance(function, KNOWN_BY_NAME)
        or len(args) not in _fitting(function)
    ):
        _check_arguments(function, _signature(function), args, named_args)


def argument_check(
    function: Any,
) -> Callable[[tuple[Any, ...], dict[str, Any]], None]:
    """Refuse a function that cannot be a job, or return what checks calls.

    For many calls that takes less time than :func:`check_call`.

    Args:
        function: what the jobs would call.

    Returns:
        A function that raises a TypeError if *function* cannot be called with
        the positional and the named arguments that it gets.

    Raises:
        TypeError: the function cannot be a job, whatever its arguments.
    """
    return functools.partial(_check_arguments, function, _signature(function))


def _check_arguments(
    function: Any,
    signature: inspect.Signature | None,
    args: tuple[Any, ...],
    named_args: dict[str, Any],
) -> None:
    if signature is None:
        return
    try:
        signature.bind(*args, **named_args)
    except TypeError as error:
        raise TypeError(
            f"{function_name(function)}{signature} cannot be called with the"
            f" arguments given to schedule(): {error}"
        ) from None


def _signature(function: Any) -> inspect.Signature | None:
    if isinstance(function, KNOWN_BY_NAME):
        return _cached_signature_of(function)
    return _signature_of(function)


def _signature_of(function: Any) -> inspect.Signature | None:
    """Refuse what cannot be a job; return its signature, ``None`` if unknown.

    Raises:
        TypeError: the function cannot be a job.
    """
    if not callable(function):
        raise TypeError(
            f"A job needs something to call, and {function!r} is not callable"
        )
    for body in (function, getattr(function, "__call__", None)):  # noqa: B004
        for is_lazy, kind in LAZY:
            if is_lazy(body):
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
        return None  # a builtin without a signature


def _require_shared(function: Any) -> None:
    """Refuse a function that may refer to objects of the calling thread.

    A function that is an attribute of its module under its own name is shared
    by all threads. One of ``__main__``, which in an interactive session may
    have been replaced by another of its name, may be used nevertheless if it
    refers to nothing that belongs to a database.
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
    """Return whether defaults or closures have more than plain values."""
    values: list[Any] = []
    seen = [function]
    for part in seen:  # seen grows in this loop
        if isinstance(part, types.FunctionType):
            parts = [cell.cell_contents for cell in part.__closure__ or ()]
            parts += part.__defaults__ or ()
            parts += (part.__kwdefaults__ or {}).values()
            known = {id(old) for old in seen}
            seen += [new for new in parts if id(new) not in known]
        else:
            values.append(part)
    try:
        return bool(dump(values, ThreadConnections()).objects)
    except NotTransferable:
        return True


#: To make a signature takes longer than all the rest of a small job. This is
#: only for functions and classes: other objects need not be hashable, and
#: should not stay in memory.
_cached_signature_of = functools.lru_cache(maxsize=512)(_signature_of)


@functools.lru_cache(maxsize=512)
def _fitting(function: Any) -> range:
    """Return with how many arguments a function can be called, all by place.

    It is empty for those that have other parameters than these.
    """
    signature = _cached_signature_of(function)
    known = () if signature is None else signature.parameters.values()
    if not all(parameter.kind in _BY_PLACE for parameter in known):
        return range(0)
    needed = sum(parameter.default is parameter.empty for parameter in known)
    return range(needed, len(known) + 1)


_BY_PLACE = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)


def stored_form(function: Callable[..., Any]) -> Any:
    """Return the form in which a function is stored in the database.

    Args:
        function: what a job calls.

    Returns:
        The name of a function or class, as ``module:qualname``; the pair of
        the object and the method's name of a bound method; for anything else
        a tuple of the callable alone, which is then pickled.

    Raises:
        TypeError: another process would not find the same by its name.
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
        # a method of a class: by the class that it is bound to, which may
        # have inherited it
        name = f"{function_name(owner)}.{name}"
    elif isinstance(function, KNOWN_BY_NAME):
        name = function_name(function)
        # as it nearly always is; resolve_name() takes ten times as long
        if _find(function.__module__, function.__qualname__) is function:
            _refuse_main(function, name)
            return name
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
    """Refuse what is in ``__main__``, which other processes do not have."""
    name = name or f"{type(function).__module__}:"
    if isinstance(function, functools.partial):
        name = function_name(function)
    if name.startswith(("__main__:", "__mp_main__:")):
        raise TypeError(
            f"{function!r} cannot be a job: the process that runs it has"
            " another __main__; use a function of a module"
        )


def callable_of(stored: Any) -> Callable[..., Any]:
    """Return the function that :func:`stored_form` was called with.

    Args:
        stored: what :func:`stored_form` has returned.

    Raises:
        JobNotLoadable: the function, its module or the method no longer
            exists, or cannot be called.
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
        hint = ""
        if isinstance(error, ModuleNotFoundError):
            hint = (
                ". If it is of another application on the same database, each"
                " needs a zodb_async.store of its own"
            )
        raise JobNotLoadable(
            f"Code that the job refers to is gone: {stored}{hint}"
        ) from error
    if not callable(function):
        raise JobNotLoadable(f"{stored} cannot be called any more")
    return function  # type: ignore[no-any-return]
