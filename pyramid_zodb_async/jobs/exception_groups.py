"""What is in groups of exceptions, and what kind an exception is of."""

from typing import TypeGuard, TypeVar

__all__ = ["is_of", "leaves_of"]

E = TypeVar("E", bound=BaseException)


def is_of(
    error: BaseException, kinds: type[E] | tuple[type[E], ...]
) -> TypeGuard[E]:
    """Return whether an exception is of one of some classes.

    Unlike ``isinstance()`` this does not ask the exception for its
    ``__class__``, which may raise. So it is for exceptions of applications,
    where nothing may.

    Args:
        error: the exception.
        kinds: a class, or several in a tuple.
    """
    return issubclass(type(error), kinds)


def leaves_of(error: BaseException) -> list[BaseException]:
    """Return the exceptions in a group, and in the groups in it.

    Args:
        error: any exception.

    Returns:
        Those that are no groups, in their order; *error* alone if that is no
        group.
    """
    leaves = []
    # not recursive: groups may be nested to any depth
    left = [error]
    while left:
        part = left.pop()
        if is_of(part, BaseExceptionGroup):
            left.extend(reversed(part.exceptions))
        else:
            leaves.append(part)
    return leaves
