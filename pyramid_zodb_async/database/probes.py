"""The question whether a storage works, after an error that it raised."""

from ZODB.Connection import Connection
from ZODB.DB import DB
from ZODB.utils import z64

from .own_transaction import in_own_transaction

__all__ = ["can_be_read"]


def can_be_read(db: DB) -> bool:
    """Return whether an object can be loaded from a database now.

    Args:
        db: the database.
    """
    try:
        in_own_transaction(db, _load_root)
    except Exception:  # noqa: BLE001 - whatever a storage or its driver raises
        return False
    return True


def _load_root(connection: Connection) -> None:
    root = connection.get(z64)
    # so that it is not in the memory of the connection
    root._p_changed = None
    len(root)
