"""Keeps the paths by which databases find classes that have moved."""

from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["stored_at"]

T = TypeVar("T", bound=Any)


def stored_at(module: str) -> Callable[[T], T]:
    """Decorate what pickles are to name by the path of *module*.

    So what is written today can be read by processes of an older version,
    and by those of a later one, wherever the code is by then.

    Args:
        module: the module by its dotted name; it has an alias of what is
            decorated.

    Returns:
        The decorator of a class or function.
    """

    def decorate(thing: T) -> T:
        thing.__module__ = module
        return thing

    return decorate
