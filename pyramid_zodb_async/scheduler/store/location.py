"""Where a store is: in which database, at which place, and its first time."""

import abc
import os
from collections.abc import Callable
from typing import Any, TypeVar

from ZODB.Connection import Connection
from ZODB.DB import DB
from ZODB.POSException import POSKeyError

from ...database.own_transaction import in_own_transaction
from ...exceptions import DatabaseForked, StoreNotUsable
from ...interfaces import Connections
from ..records import Store

__all__ = ["ObjectLocation", "RootLocation", "StoreLocation"]

T = TypeVar("T")

#: Its key in the root of the database.
KEY = "pyramid_zodb_async"


class StoreLocation(abc.ABC):
    """A store's place.

    It belongs to the process that made it: a database must not be used by
    the children of the process that opened it.

    Args:
        get_db: gives the database; an application may know it only later.
    """

    def __init__(self, get_db: Callable[[], DB]) -> None:
        self._get_db = get_db
        self._process = os.getpid()

    @property
    def db(self) -> DB:
        """The database.

        Raises:
            DatabaseForked: another process opened it.
        """
        if os.getpid() != self._process:
            raise DatabaseForked(
                f"This process, {os.getpid()}, was forked from"
                f" {self._process}, which had opened the database of the jobs:"
                " two processes that share it lose changes, or hang."
                " Configure the application after the fork"
            )
        return self._get_db()

    def of(self, connections: Connections) -> Store | None:
        """Give the store as these connections see it, if there is one."""
        return self.find(connections.to(self.db))

    @abc.abstractmethod
    def find(self, connection: Connection) -> Store | None:
        """Give the store as *connection* sees it, if there is one.

        Raises:
            StoreNotUsable: what is there is none that this version knows.
        """

    @abc.abstractmethod
    def make(self, connection: Connection) -> Store:
        """Give the store as *connection* sees it, made now if need be."""

    def read(self, work: Callable[[Store], T], default: T) -> T:
        """Do *work*, which only reads, in a transaction of its own."""

        def do(connection: Connection) -> T:
            store = self.find(connection)
            return default if store is None else work(store)

        return in_own_transaction(self.db, do)

    def write(self, work: Callable[[Store], T], note: str) -> T:
        """Do *work* in a transaction of its own, repeated after conflicts."""
        return in_own_transaction(
            self.db,
            lambda connection: work(self.make(connection)),
            note,
        )


class RootLocation(StoreLocation):
    """A fixed key in the root of a database.

    Args:
        get_db: gives the database.
        factory: makes the store.
        timeout: how long outcomes will be kept, in seconds.
    """

    def __init__(
        self,
        get_db: Callable[[], DB],
        factory: Callable[..., Store] = Store,
        *,
        timeout: float = 3600,
    ) -> None:
        super().__init__(get_db)
        self._factory = factory
        self._timeout = timeout

    def find(self, connection: Connection) -> Store | None:
        """See :class:`StoreLocation`."""
        found: Any = connection.root().get(KEY)
        if found is None:
            return None
        if not isinstance(found, Store):
            raise StoreNotUsable(
                f"root()[{KEY!r}] of the database is no store of jobs, but a"
                f" {type(found).__qualname__}; what the application keeps"
                " there must have another name"
            )
        found.require_format()
        return found

    def make(self, connection: Connection) -> Store:
        """See :class:`StoreLocation`."""
        store = self.find(connection)
        if store is None:
            store = connection.root()[KEY] = self._factory(self._timeout)
        return store


class ObjectLocation(StoreLocation):
    """The place of a store that an application has put somewhere.

    Args:
        db: the database.
        oid: the store's oid.
    """

    def __init__(self, db: DB, oid: bytes) -> None:
        super().__init__(lambda: db)
        self._oid = oid

    def find(self, connection: Connection) -> Store | None:
        """See :class:`StoreLocation`."""
        try:
            return self.make(connection)
        except POSKeyError:
            return None  # it is not committed yet

    def make(self, connection: Connection) -> Store:
        """See :class:`StoreLocation`.

        Raises:
            POSKeyError: the application has not stored it.
        """
        store: Store = connection.get(self._oid)
        store.require_format()
        return store
