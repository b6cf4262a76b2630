"""The other stores of jobs in a database, which this process leaves alone."""

import logging

from ZODB.Connection import Connection

from ...concurrency.loggers import get_logger
from ..records import FORMAT, Store

__all__ = ["other_stores", "tell_of_other_stores"]

log = get_logger(__name__)


def other_stores(connection: Connection, own: str) -> list[str]:
    """Return the names of other stores in which jobs have not ended.

    Args:
        connection: a connection to the database.
        own: the name of the store of this process.

    Returns:
        Their keys in the root of the database, in no certain order. A store
        that cannot be read is left out, for it is another one's concern.
    """
    return [
        name
        for name, value in connection.root().items()
        # known of an object that is not loaded
        if name != own and isinstance(value, Store)
        if _has_unfinished(name, value)
    ]


def _has_unfinished(name: str, store: Store) -> bool:
    try:
        # of a later format it is not known where its jobs are
        return store.format <= FORMAT and any(store.unfinished())
    except Exception:
        log.exception(
            "The store of jobs %r in the database cannot be read. It is not"
            " the one of this process, which goes on.",
            name,
            extra={"action": "other_store_not_read", "store": name},
        )
        return False


def tell_of_other_stores(
    database: str, own: str, others: list[str], *, is_new: bool
) -> None:
    """Log that the jobs of other stores are not run by this process.

    They are another application's. Or the setting was changed while jobs
    waited, which then wait for ever: so it is a warning if the own store was
    made just now.

    Args:
        database: the name of the database.
        own: the name of the store of this process.
        others: the names of other stores with jobs that have not ended.
        is_new: whether the store of this process is new.
    """
    for name in others:
        log.log(
            logging.WARNING if is_new else logging.INFO,
            "This process runs the jobs of the store %r in the database %r,"
            " %s, and not those of the store %r, which has unfinished ones."
            " If no other application runs them, start this one with"
            " zodb_async.store = %s until they have ended.",
            own,
            database,
            "which is new" if is_new else "as zodb_async.store says",
            name,
            name,
            extra={"action": "other_store", "store": name},
        )
