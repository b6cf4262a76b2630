"""Values of context variables that count in a block."""

from contextvars import ContextVar, Token
from typing import Any

__all__ = ["ContextValue"]


class ContextValue:
    """A value of a context variable, for a ``with`` block.

    Each job enters some of these blocks. So this is no generator with
    ``contextlib.contextmanager``, which takes a multiple of the work.

    Args:
        variable: the variable.
        value: what it has in the block; the block gets it as well.
    """

    __slots__ = ("_token", "_value", "_variable")

    _token: Token[Any]

    def __init__(self, variable: ContextVar[Any], value: Any) -> None:
        self._variable = variable
        self._value = value

    def __enter__(self) -> Any:
        self._token = self._variable.set(self._value)
        return self._value

    def __exit__(self, *_: object) -> None:
        self._variable.reset(self._token)
