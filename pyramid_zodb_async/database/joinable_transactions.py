"""Transactions that functions join, and their end when a call has raised."""

import contextlib
from collections.abc import Iterator

from transaction.interfaces import (
    AlreadyInTransaction,
    ITransaction,
    NoTransaction,
)
from transaction.interfaces import ITransactionManager as Manager

from ..concurrency.loggers import get_logger

__all__ = [
    "abort_after",
    "begin_joinable",
    "current_transaction",
    "is_joinable",
    "preserving",
]

log = get_logger(__name__)

# the key of a mark in the data of the transactions that functions may join;
# an object, so that no other code can use the same key
_MARK = object()


def begin_joinable(manager: Manager) -> ITransaction:
    """Begin a transaction that decorated functions will join.

    A pending transaction is aborted; a manager in explicit mode leaves it
    alone, and raises ``AlreadyInTransaction`` instead.

    Args:
        manager: the transaction manager.

    Returns:
        The new transaction.
    """
    try:
        txn = manager.begin()
    except AlreadyInTransaction:
        raise
    except BaseException as error:
        # A synchronizer, which the manager calls at the end of begin(), has
        # failed. The transaction exists, and would stay pending.
        abort_after(manager, error)
        raise
    txn.set_data(_MARK, True)  # noqa: FBT003 - data of our own
    return txn


def current_transaction(manager: Manager) -> ITransaction | None:
    """Return the transaction of a manager, if there is one.

    Args:
        manager: the transaction manager, which may be explicit.
    """
    try:
        return manager.get()
    except NoTransaction:
        return None


def is_joinable(txn: ITransaction | None) -> bool:
    """Return whether decorated functions join a transaction.

    Args:
        txn: the transaction, or ``None``.
    """
    try:
        return txn is not None and txn.data(_MARK) is True
    except KeyError:
        return False


def abort_after(manager: Manager, error: BaseException) -> bool:
    """Abort because of an error that is raised on.

    Args:
        manager: the manager of the transaction.
        error: the error; it gets a note if the abort fails.

    Returns:
        Whether the abort has succeeded.
    """
    with preserving(error, "Aborting the transaction"):
        if (txn := current_transaction(manager)) is not None:
            txn.abort()
        return True
    return False


@contextlib.contextmanager
def preserving(error: BaseException, what: str) -> Iterator[None]:
    """Log an exception of the block, so that another can be raised on.

    Args:
        error: what is raised on; it gets a note.
        what: what the block does, for the log.

    Returns:
        A context manager.
    """
    try:
        yield
    except Exception as failure:
        error.add_note(f"{what} failed as well: {failure!r}")
        log.exception(
            "%s failed while an error was handled, which is the one raised.",
            what,
            extra={"action": "transaction_cleanup_failed"},
        )
