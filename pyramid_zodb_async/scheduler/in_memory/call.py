"""The call of a job in memory, which one thread makes and another loads."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from ...exceptions import ArgumentNotTransferable, NotTransferable
from ...interfaces import Connections
from ...transfer.callables import (
    KNOWN_BY_NAME,
    Function,
    check_call,
    function_name,
    require_transferable,
)
from ...transfer.envelopes import Dumped, dump, resolved
from ...transfer.references import Reference

__all__ = ["Call", "Loadable"]

T = TypeVar("T")


class Loadable(NamedTuple):
    """A call that any thread can load and make.

    It is flat, without an object between, since very many may wait.
    """

    #: A function or class, which is the same for all threads; ``None`` if the
    #: callable is pickled with the arguments.
    function: Function | None
    #: The pickle of the callable or ``None``, the positional and the named
    #: arguments.
    data: bytes
    #: What the pickle refers to by index.
    references: tuple[Reference, ...]

    def load(self, connections: Connections) -> Callable[[], Any]:
        """Return a callable that makes the call.

        Args:
            connections: those that load persistent objects.

        Raises:
            JobNotLoadable: something that the call refers to is gone.
        """
        dumped = Dumped(self.data, self.references)
        function, args, named_args = dumped.load(connections)
        if self.function is not None:
            function = self.function
        return functools.partial(function, *args, **named_args)


class Call:
    """A call as it is given to ``schedule()``, with the values of that time.

    Persistent objects in it are found by their oids from the commit on.

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
        # kept for errors
        self._args = args
        self._named_args = named_args
        self._enclose = functools.partial(dump, connections=connections)
        self._envelope = self._checked(self._enclose)

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
        try:
            dumped = resolved(self._envelope)
        except NotTransferable as error:
            # once more, for an error that names the argument
            self._checked(lambda value: resolved(self._enclose(value)))
            raise ArgumentNotTransferable(
                f"The arguments of {self.function}() cannot go to a job:"
                f" {error}"
            ) from error
        shared, _ = self._shared_and_travelling()
        return Loadable(shared, *dumped)

    def _shared_and_travelling(self) -> tuple[Function | None, Any]:
        """Return the function as it is, or as a part of the envelope."""
        # Functions and classes are not pickled: all threads share them.
        if isinstance(self._function, KNOWN_BY_NAME):
            return self._function, None
        return None, self._function

    def _checked(self, check: Callable[[Any], T]) -> T:
        _, travelling = self._shared_and_travelling()
        return require_transferable(
            check, self._function, travelling, self._args, self._named_args
        )
