"""The owners of jobs: userids as texts that know of what type they were."""

import functools
import numbers
import re
from typing import Any, Self

__all__ = [
    "Owner",
    "as_owner",
    "is_owner",
    "loaded_owner",
    "stored_owner",
]

#: The address of an object in memory, as ``object.__repr__`` shows it.
_ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+")


class Owner(str):
    """The text of a userid, with its type.

    Everywhere but in :func:`is_owner` it is like any other text; a pickle of
    it is the text alone.
    """

    __slots__ = ("kind",)

    #: The name of the type.
    kind: str

    def __new__(cls, text: str, kind: str) -> Self:
        """Return the owner of that text and type."""
        owner = super().__new__(cls, text)
        owner.kind = kind
        return owner

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (str.__str__(self),)


def as_owner(userid: Any) -> Owner | None:
    """Return the owner that a userid stands for.

    Args:
        userid: what the security policy says.

    Returns:
        The owner; ``None`` if the userid has no text of its own, by which it
        could be known again, such as an object of which only the address or
        its class can be told.
    """
    if type(userid) is str:  # the usual case, made fast
        return Owner(userid, "str")
    if not _has_text(userid):
        return None
    kind = _kind(userid)
    text = _text(userid, kind)
    if kind != "str" and (not text or _ADDRESS.search(text)):
        return None
    return Owner(text, kind)


def _has_text(userid: Any) -> bool:
    """Return whether the type of a userid says how its text is made."""
    if isinstance(userid, tuple):
        return all(map(_has_text, userid))
    kind: Any = type(userid)
    return isinstance(userid, str | bytes | numbers.Number) or (
        kind.__str__ is not object.__str__
    )


def _text(userid: Any, kind: str) -> str:
    """Return the text of a userid of a kind."""
    # of these two the value itself: subclasses may show as something else,
    # even as another user
    if kind == "str":
        return str.__str__(userid)
    if kind == "int":
        return str(int(userid))
    return repr(userid) if isinstance(userid, bytes) else str(userid)


def _kind(userid: Any) -> str:
    """Return the name of the type of a userid.

    Texts are of one type, and so are whole numbers, whichever library has
    made them.
    """
    if isinstance(userid, str):
        return "str"
    if isinstance(userid, numbers.Integral) and not isinstance(userid, bool):
        return "int"
    kind = type(userid)
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def is_owner(user: str | None, owner: str) -> bool:
    """Return whether a user is the owner of a job.

    Args:
        user: the user as an owner; ``None`` if there is none.
        owner: the owner of the job. Where its type is not known, as in jobs
            that earlier versions have stored, the text decides.
    """
    if user != owner:
        return False
    kinds = getattr(user, "kind", None), getattr(owner, "kind", None)
    return None in kinds or kinds[0] == kinds[1]


def stored_owner(owner: str) -> dict[str, str | None]:
    """Return the attributes of a record that tell its owner.

    Args:
        owner: the owner; the type of a text that is none is not known.
    """
    return {
        "owner": str.__str__(owner),
        "owner_kind": getattr(owner, "kind", None),
    }


@functools.lru_cache(maxsize=1024)
def loaded_owner(owner: str, owner_kind: str | None) -> str:
    """Return the owner of a job that is stored.

    All jobs of an owner have it in common, since very many may wait.

    Args:
        owner: the text of the userid.
        owner_kind: the name of its type, if that is known.
    """
    return owner if owner_kind is None else Owner(owner, owner_kind)
