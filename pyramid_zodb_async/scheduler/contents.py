"""The persistent objects for calls and results that no record can hold."""

from typing import Any

from persistent import Persistent

from ..jobs.class_paths import stored_at

__all__ = ["Outcome", "Parts", "PlainCall", "StoredCall"]

#: The name of a function, positional arguments, and pairs of named ones.
PlainCall = tuple[str, tuple[Any, ...], tuple[tuple[str, Any], ...]]

#: The function, the positional and the named arguments.
Parts = tuple[Any, tuple[Any, ...], dict[str, Any]]


@stored_at("pyramid_zodb_async.scheduler.records")
class StoredCall(Persistent):
    """A function and its arguments; the package never changes them."""

    def __init__(
        self, function: Any, args: tuple[Any, ...], named_args: dict[str, Any]
    ) -> None:
        self.function = function
        if args:
            self.args = args
        if named_args:
            self.named_args = named_args

    args: tuple[Any, ...] = ()
    named_args: dict[str, Any] = {}  # noqa: RUF012 - never changed

    def parts(self) -> Parts:
        """Return the call as stored, even if a run has changed arguments."""
        self._p_invalidate()
        return self.function, self.args, self.named_args


@stored_at("pyramid_zodb_async.scheduler.records")
class Outcome(Persistent):
    """What a job returned, or the pickle of what it raised."""

    value: Any = None
    exception: bytes | None = None

    def __init__(
        self, value: Any = None, exception: bytes | None = None
    ) -> None:
        if value is not None:
            self.value = value
        if exception is not None:
            self.exception = exception

    def load(self) -> Any:
        """Return the value as stored, even if a reader has changed it."""
        self._p_invalidate()
        return self.value
