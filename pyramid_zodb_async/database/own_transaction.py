"""Transactions that are independent of those of requests, jobs and threads."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

import transaction
from transaction.interfaces import TransientError
from ZODB.Connection import Connection
from ZODB.DB import DB

from .commits import may_have_committed

__all__ = ["in_own_transaction"]

T = TypeVar("T")

#: How often a transaction is tried, and, in seconds, half of the longest wait
#: before the second try. The longest wait doubles before each further try; the
#: actual wait is a random part of it.
TRIES, LONGEST_WAIT = 8, 0.05


def in_own_transaction(
    db: DB, work: Callable[[Connection], T], note: str | None = None
) -> T:
    """Call *work* in a transaction and with a connection of its own.

    They are independent of the transactions of the thread and of a request.
    After a conflict or another transient error it is called again, with a new
    transaction; also after a commit that raised and may have succeeded, so
    it must find out itself whether it has done its work already.

    Args:
        db: the database.
        work: called with the connection to it.
        note: the description of the transaction, which the history of the
            database shows. If it is ``None``, nothing is committed.

    Returns:
        What *work* has returned.

    Raises:
        Exception: what *work* or the commit raises; a transient error, or
            that of a commit that may have succeeded, only after the last try.
    """
    tries = 0
    while True:
        try:
            return _try(db, work, note)
        except (TransientError, _InDoubt) as raised:
            error = raised.error if isinstance(raised, _InDoubt) else raised
        tries += 1
        if tries >= TRIES:
            raise error
        longest = LONGEST_WAIT * 2**tries
        time.sleep(random.uniform(0, longest))  # noqa: S311 - no secret


class _InDoubt(Exception):
    """A commit has raised an error, and may have succeeded nevertheless."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


def _try(db: DB, work: Callable[[Connection], T], note: str | None) -> T:
    manager = transaction.TransactionManager(explicit=True)
    connection = db.open(transaction_manager=manager)
    try:
        current = manager.begin()
        try:
            result = work(connection)
            if note is not None:
                current.note(note)
                current.commit()
                return result
        except BaseException as error:
            is_in_doubt = may_have_committed(current)
            # also after a failed commit, which leaves the transaction open
            current.abort()
            if is_in_doubt and isinstance(error, Exception):
                raise _InDoubt(error) from error
            raise
        current.abort()
        return result
    finally:
        # after the abort: a connection that still takes part in a transaction
        # cannot be closed
        connection.close()
