"""Calls and results as records have them, and how these are loaded."""

from typing import Any

from persistent import Persistent
from ZODB.Connection import Connection

from ..jobs.class_paths import stored_at
from ..transfer.broken_classes import refuse_broken
from ..transfer.envelopes import load

__all__ = [
    "Contents",
    "Outcome",
    "Pair",
    "Parts",
    "PlainArguments",
    "PlainCall",
    "StoredCall",
    "StoredEnvelope",
    "load_arguments",
    "load_call",
    "load_contents",
    "load_form",
]

#: The arguments of a call: positional ones, and pairs of named ones.
PlainArguments = tuple[tuple[Any, ...], tuple[tuple[str, Any], ...]]

#: The name of a function, positional arguments, and pairs of named ones.
PlainCall = tuple[str, tuple[Any, ...], tuple[tuple[str, Any], ...]]

#: The function, the positional and the named arguments.
Parts = tuple[Any, tuple[Any, ...], dict[str, Any]]

#: A small envelope: a pickle, and the persistent objects that it refers to.
Pair = tuple[bytes, tuple[Any, ...]]


@stored_at("pyramid_zodb_async.scheduler.records")
class StoredEnvelope(Persistent):
    """An envelope for which a record has no room; it is never changed."""

    objects: tuple[Any, ...] = ()

    def __init__(self, data: bytes, objects: tuple[Any, ...]) -> None:
        self.data = data
        if objects:
            self.objects = objects


@stored_at("pyramid_zodb_async.scheduler.records")
class StoredCall(Persistent):
    """A function and its arguments, as earlier versions have stored them."""

    function: Any
    args: tuple[Any, ...] = ()
    named_args: dict[str, Any] = {}  # noqa: RUF012 - never changed

    def parts(self) -> Parts:
        """Return the call as stored, even if a run has changed arguments."""
        self._p_invalidate()
        return self.function, self.args, self.named_args


@stored_at("pyramid_zodb_async.scheduler.records")
class Outcome(Persistent):
    """The pickle of what a job raised.

    Those of earlier versions may have what a job returned instead.
    """

    value: Any = None
    exception: bytes | None = None

    def __init__(self, exception: bytes) -> None:
        self.exception = exception

    def load(self) -> Any:
        """Return the value as stored, even if a reader has changed it."""
        self._p_invalidate()
        return self.value


#: What is neither plain nor of an earlier version.
Contents = Pair | StoredEnvelope


def load_contents(stored: Contents, jar: Connection) -> Any:
    """Return a new copy of what is in an envelope.

    Args:
        stored: the envelope.
        jar: the connection that has loaded it.

    Raises:
        JobNotLoadable: something that it refers to is gone.
    """
    if isinstance(stored, tuple):
        data, objects = stored
        return load(data, objects, jar)
    return load(stored.data, stored.objects, jar)


def load_call(
    stored: PlainCall | Contents | StoredCall, jar: Connection
) -> Parts:
    """Return the parts of a call, new for each run.

    Args:
        stored: what ``storable_call()`` has returned.
        jar: the connection that has loaded it.

    Raises:
        JobNotLoadable: something that the call refers to is gone.
    """
    parts: Parts
    if isinstance(stored, StoredCall):
        # stored.parts() would load a ghost, only for parts() to invalidate it
        parts = StoredCall.parts(stored)
        refuse_broken(parts)
    elif isinstance(stored, tuple) and len(stored) == 3:  # noqa: PLR2004 - its parts
        function, args, named_args = stored
        parts = function, args, dict(named_args)
    else:
        parts = load_contents(stored, jar)
    return parts


def load_arguments(
    stored: PlainArguments | Contents, jar: Connection
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the positional and the named arguments of a call.

    Args:
        stored: what ``storable_arguments()`` has returned.
        jar: the connection that has loaded it.

    Raises:
        JobNotLoadable: something that they refer to is gone.
    """
    args: Any
    if isinstance(stored, tuple) and isinstance(stored[0], tuple):
        args, named_args = stored
        return args, dict(named_args)
    _, args, named_args = load_contents(stored, jar)  # type: ignore[arg-type]
    return args, named_args


def load_form(stored: str | Contents, jar: Connection) -> Any:
    """Return a function in the form that ``callable_of()`` takes.

    Args:
        stored: what ``storable_function()`` has returned.
        jar: the connection that has loaded it.

    Raises:
        JobNotLoadable: something that it refers to is gone.
    """
    if isinstance(stored, str):
        return stored
    form, _, _ = load_contents(stored, jar)
    return form
