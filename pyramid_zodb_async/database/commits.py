"""Manners around a commit: what is told of it, and what came of it."""

from typing import Any

from .internals import has_voted, participants_of

__all__ = [
    "LONGEST_NOTE",
    "cut_notes",
    "has_committed",
    "may_have_committed",
]

#: How many characters a transaction tells of its user, and of what it does.
#: A FileStorage refuses more than 65535 bytes of either.
LONGEST_NOTE = 16_000


def cut_notes(transaction: Any) -> None:
    """Cut the texts that tell of a transaction, if they are very long.

    A storage may refuse the commit for them.

    Args:
        transaction: the transaction, before its commit.
    """
    if len(transaction.description) > LONGEST_NOTE:
        transaction.description = _cut(transaction.description)
    if len(transaction.user) > LONGEST_NOTE:
        transaction.user = _cut(transaction.user)


def _cut(text: str) -> str:
    return text[: LONGEST_NOTE - 1] + "…"


def has_committed(transaction: Any) -> bool:
    """Return whether a transaction is over, and has committed.

    Args:
        transaction: the transaction. What has ended it may have begun another
            one.
    """
    # the word is that of transaction 5.1, which has no public name for it
    return bool(transaction.status == "Committed")


def may_have_committed(transaction: Any) -> bool:
    """Return whether a commit may have succeeded although it has raised.

    A commit has two phases. First all participants vote; if one of them
    raises, nothing is committed. Then they finish, one after the other. A
    client of a storage may raise in that phase before or after the server
    has committed, for instance when their connection breaks, and the
    participants before it have committed.

    Args:
        transaction: the transaction, not aborted yet.

    Returns:
        Whether it has come to the second phase.
    """
    participants = participants_of(transaction)
    return bool(participants) and all(
        has_voted(transaction, participant) for participant in participants
    )
