"""What is known of a commit that has raised."""

from typing import Any

from .internals import has_voted, participants_of

__all__ = ["may_have_committed"]


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
