"""What a job calls: a function and its arguments, fit to travel."""

import functools
import inspect
import sys
import types
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from pyramid.interfaces import IRequest
from ZODB.Connection import Connection

from ..database.connections import ThreadConnections
from ..exceptions import ArgumentNotTransferable, NotTransferable
from ..interfaces import Connections
from .references import Dumped, dump

__all__ = [
    "Call",
    "Loadable",
    "check_call",
    "function_name",
    "require_transferable",
]

Function = Callable[..., Any]
T = TypeVar("T")


class Loadable(NamedTuple):
    """A call that any thread can load and make."""

    #: A function or class that is the same for all threads, or ``None`` if
    #: the callable travels with the arguments.
    function: Function | None
    #: The callable or ``None``, the positional and the named arguments.
    dumped: Dumped

    def load(self, connections: Connections) -> Callable[[], Any]:
        """Give a callable that makes the call.

        Raises:
            JobNotLoadable: something that the call refers to is gone.
        """
        function, args, named_args = self.dumped.load(connections)
        if self.function is not None:
            function = self.function
        return functools.partial(function, *args, **named_args)


class Call:
    """A call on its way from the code that schedules it.

    Args:
        function: what to call.
        args: its positional arguments.
        named_args: its named arguments.
        connections: those of the code that schedules.

    Raises:
        TypeError: *function* cannot be a job, or cannot be called so.
        ArgumentNotTransferable: an argument cannot cross threads.
    """

    def __init__(
        self,
        function: Function,
        args: tuple[Any, ...],
        named_args: dict[str, Any],
        connections: Connections,
    ) -> None:
        check_call(function, args, named_args)
        self._function = function
        self._args = args
        self._named_args = named_args
        self._connections = connections
        self._dump(final=False)

    @property
    def function(self) -> str:
        """The name of what is called."""
        return function_name(self._function)

    def loadable(self) -> Loadable:
        """Give the call as other threads load it.

        To be asked when the commit has stored new objects, but before it has
        ended.

        Raises:
            ArgumentNotTransferable: a new object was not stored.
        """
        return self._dump(final=True)

    def _dump(self, *, final: bool) -> Loadable:
        shared, travelling = self._function, None
        if not isinstance(self._function, _SHARED_BY_THREADS):
            shared, travelling = None, self._function  # type: ignore[assignment]
        dumped = require_transferable(
            functools.partial(
                dump, connections=self._connections, final=final
            ),
            self._function,
            travelling,
            self._args,
            self._named_args,
        )
        return Loadable(shared, dumped)


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


#: Callables of these types hold no state of a thread.
_SHARED_BY_THREADS = (types.FunctionType, type)


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
    if isinstance(function, _SHARED_BY_THREADS):
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
    if isinstance(function, _SHARED_BY_THREADS):
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
