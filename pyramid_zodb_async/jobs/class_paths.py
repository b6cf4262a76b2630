"""A decorator that has pickles name a class by a path that never changes."""

from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["stored_at"]

T = TypeVar("T", bound=Any)


def stored_at(module: str) -> Callable[[T], T]:
    """Have pickles name a class or function by the path of *module*.

    Its source is not found by ``inspect`` then, which looks into *module*.

    Databases contain pickles with such paths. Processes of older and of later
    versions can read them as long as the path stays the same, wherever the
    code itself has been moved to.

    Args:
        module: the dotted name of a module that imports what is decorated.

    Returns:
        The decorator of a class or function.
    """

    def decorate(thing: T) -> T:
        thing.__module__ = module
        return thing

    return decorate
