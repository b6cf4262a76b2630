"""The call of a job in memory, which one thread makes and another loads."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from ...interfaces import Connections
from ...transfer.callables import (
    KNOWN_BY_NAME,
    Function,
    check_call,
    function_name,
    require_transferable,
)
from ...transfer.references import Dumped, dump

__all__ = ["Call", "Loadable"]


class Loadable(NamedTuple):
    """A call that any thread can load and make."""

    #: A function or class, which is the same for all threads; ``None`` if the
    #: callable is pickled with the arguments.
    function: Function | None
    #: The pickle of the callable or ``None``, the positional and the named
    #: arguments.
    dumped: Dumped

    def load(self, connections: Connections) -> Callable[[], Any]:
        """Return a callable that makes the call.

        Args:
            connections: those that load persistent objects.

        Raises:
            JobNotLoadable: something that the call refers to is gone.
        """
        function, args, named_args = self.dumped.load(connections)
        if self.function is not None:
            function = self.function
        return functools.partial(function, *args, **named_args)


class Call:
    """A call as it is given to ``schedule()``.

    It is pickled here once, so that an error comes where the mistake is, and
    again in the commit.

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
        """The name of what is called, as ``module:qualname``."""
        return function_name(self._function)

    def loadable(self) -> Loadable:
        """Return the call as other threads load it.

        Call this in the commit, after the databases have stored their
        objects: new ones have no oid before that. An error still aborts the
        transaction.

        Raises:
            ArgumentNotTransferable: a new object was not stored.
        """
        return self._dump(final=True)

    def _dump(self, *, final: bool) -> Loadable:
        # Functions and classes are not pickled: all threads share them.
        shared, travelling = self._function, None
        if not isinstance(self._function, KNOWN_BY_NAME):
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
