"""Transactions of the package's own, beside those of requests and jobs."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

import transaction
from transaction.interfaces import TransientError
from ZODB.Connection import Connection
from ZODB.DB import DB

__all__ = ["in_own_transaction"]

T = TypeVar("T")

#: How often a transaction is tried, and the longest wait before the second
#: try in seconds; it grows, and chance makes it shorter.
TRIES, LONGEST_WAIT = 8, 0.05


def in_own_transaction(
    db: DB, work: Callable[[Connection], T], note: str | None = None
) -> T:
    """Do *work* with a connection of its own, and commit it.

    After a conflict it is done again, with everything read anew. It belongs
    to no thread's and no request's transaction. Without a *note*, which the
    history of the database will show, nothing is committed.

    Raises:
        Exception: what *work* or the commit raises, a transient error when
            it came each time.
    """
    tries = 0
    while True:
        try:
            return _try(db, work, note)
        except TransientError:
            tries += 1
            if tries >= TRIES:
                raise
        longest = LONGEST_WAIT * 2**tries
        time.sleep(random.uniform(0, longest))  # noqa: S311 - no secret


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
        except BaseException:
            current.abort()  # one whose commit failed is open, too
            raise
        current.abort()
        return result
    finally:
        connection.close()
