"""What other packages tell, or do, only by attributes that are their own.

Nothing else in this package uses such an attribute, except for the databases
that pyramid_zodbconn has opened, which are in ``application``.
"""

from typing import Any

from persistent import Persistent
from ZODB.Connection import Connection

__all__ = [
    "has_voted",
    "is_implicitly_added",
    "is_registered",
    "leave_transaction",
    "participants_of",
    "require_serial",
    "revisions",
]


def is_registered(connection: Connection, manager: Any) -> bool:
    """Return whether a connection is told of the transactions of a manager.

    That is in ``_synchs``, as of transaction 5.1. The public
    ``registeredSynchs()`` only returns whether there are any. To register the
    connection again would begin a new view of the database.

    Args:
        connection: the connection.
        manager: a ``transaction.TransactionManager``.
    """
    return connection in manager._synchs  # noqa: SLF001


def require_serial(thing: Persistent, serial: bytes) -> None:
    """Let the commit conflict if an object is not as it was read.

    That is what ``readCurrent()`` of its connection does, but by the serial
    that another transaction has read, so that the object need not be loaded.
    It notes the serial in ``_readCurrent``, as of ZODB 6.4.

    Args:
        thing: the object, which is stored.
        serial: the serial with which it was read.
    """
    thing._p_jar._readCurrent[thing._p_oid] = serial  # noqa: SLF001


def leave_transaction(connection: Connection, transaction: Any) -> None:
    """Have a connection take part in a transaction no longer.

    This is ``_unjoin()``, as of transaction 5.1. There is a public ``join()``,
    but in public only the rollback to a savepoint undoes it.

    Args:
        connection: the connection. It may be one that takes no part.
        transaction: the transaction.
    """
    transaction._unjoin(connection)  # noqa: SLF001


def is_implicitly_added(connection: Connection, oid: bytes) -> bool:
    """Return whether an object was stored only as it is referred to.

    Nobody has called ``add()`` for such an object, and its transaction has
    not ended: a savepoint has stored it. ``_implicitlyAdding()`` is what the
    ZODB asks before it stores a reference from another database, as of ZODB
    6.4; a class of its own raises then, but only at the commit.

    Args:
        connection: the connection of the object.
        oid: the oid of the object.
    """
    return bool(connection._implicitlyAdding(oid))  # noqa: SLF001


def revisions(connection: Connection, oid: bytes, most: int) -> list[bytes]:
    """Return the tids of the transactions that wrote an object.

    They come from the storage of the connection, ``_storage`` as of ZODB 6.4.
    The storage of the database has a public method, but on a RelStorage it
    answers as of the last time that somebody has used it.

    Args:
        connection: a connection.
        oid: the oid of the object.
        most: how many to return at most.

    Returns:
        The tids, the last one first. One may be of a transaction that the
        connection does not see yet.
    """
    found = connection._storage.history(oid, size=most)  # noqa: SLF001
    return [revision["tid"] for revision in found]


def participants_of(transaction: Any) -> list[Any]:
    """Return the data managers that take part in a transaction.

    They are in ``_resources``, as of transaction 5.1, also when a commit has
    failed, until the abort that follows. Nothing public names them.

    Args:
        transaction: the transaction.
    """
    return list(transaction._resources)  # noqa: SLF001


def has_voted(transaction: Any, participant: Any) -> bool:
    """Return whether a participant has voted for the commit.

    ``_voted`` tells, as of transaction 5.1, also when the commit has failed
    after that, until the abort that follows.

    Args:
        transaction: the transaction.
        participant: one of its :func:`participants_of`.
    """
    return id(participant) in transaction._voted  # noqa: SLF001
