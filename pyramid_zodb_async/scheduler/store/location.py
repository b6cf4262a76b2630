"""Where the store is in a database, and how it is read, made and written."""

import abc
import os
from collections.abc import Callable
from typing import Any, TypeVar

from ZODB.Connection import Connection
from ZODB.DB import DB
from ZODB.POSException import POSKeyError
from ZODB.utils import z64

from ...concurrency.loggers import get_logger
from ...database.forks import CURE, process_of
from ...database.own_transaction import in_own_transaction
from ...database.storages import storage_failed
from ...exceptions import DatabaseForked, StoreNotUsable
from ...interfaces import Connections
from ...settings import DEFAULT_STORE
from ..records import Store, TakenOver
from .other_stores import other_stores, tell_of_other_stores

__all__ = ["ObjectLocation", "RootLocation", "StoreLocation"]

T = TypeVar("T")

log = get_logger(__name__)


class StoreLocation(abc.ABC):
    """Where a store is.

    It can be used only in the process that opened its database.

    Args:
        get_db: returns the database; it is called when the database is
            needed first, since an application may open it later, and again
            if that was closed, for another may have taken its place.
    """

    def __init__(self, get_db: Callable[[], DB]) -> None:
        self._get_db = get_db
        self._db: DB | None = None
        self._process = 0

    @property
    def db(self) -> DB:
        """The database.

        Raises:
            DatabaseForked: another process opened it.
        """
        # one that is closed belongs together with none, not even with itself
        if self._db is None or not self._db.databases:
            self._db = self._get_db()
            self._process = process_of(self._db)
        if os.getpid() != self._process:
            raise DatabaseForked(
                f"This process, {os.getpid()}, was forked from"
                f" {self._process}, which had opened the database of the jobs:"
                f" two processes that share it lose changes, or hang. {CURE}"
            )
        return self._db

    def of(self, connections: Connections) -> Store | None:
        """Return the store, or ``None`` if it is not made yet.

        Args:
            connections: those of the transaction that reads the store.

        Raises:
            StoreNotUsable: see :meth:`find`.
            DatabaseForked: see :attr:`db`.
        """
        return self.find(connections.to(self.db))

    @abc.abstractmethod
    def find(self, connection: Connection) -> Store | None:
        """Return the store, or ``None`` if it is not made yet.

        Args:
            connection: the connection that loads the store.

        Raises:
            StoreNotUsable: what is there is no store, or one of a format
                that this version does not know.
        """

    @abc.abstractmethod
    def make(self, connection: Connection) -> Store:
        """Return the store; make it if it is not made yet, and upgrade it.

        Args:
            connection: the connection that loads the store.

        Raises:
            StoreNotUsable: see :meth:`find`.
        """

    def has(self, store: Store) -> bool:
        """Return whether :meth:`make` would return a store, if that is known.

        To ask takes less time than to make it again.

        Args:
            store: what that has returned in the same transaction.
        """
        return False

    def is_gone(self) -> bool:
        """Return whether the store was there, and is not any more."""
        return False

    def read(self, work: Callable[[Store], T], default: T) -> T:
        """Read the store in a transaction of its own.

        Args:
            work: reads the store, without changing it. It may be called
                again after a conflict, and must not return persistent
                objects: their connection is closed when this returns.
            default: what to return if the store is not made yet.

        Returns:
            What *work* returned.
        """

        def do(connection: Connection) -> T:
            store = self.find(connection)
            return default if store is None else work(store)

        return in_own_transaction(self.db, do)

    def write(self, work: Callable[[Store], T], note: str) -> T:
        """Change the store in a transaction of its own.

        Args:
            work: changes the store. It is called again after a conflict, and
                must not return persistent objects.
            note: describes the transaction in the history of the database.

        Returns:
            What *work* returned. If that raises, nothing is changed.
        """
        return in_own_transaction(
            self.db,
            lambda connection: work(self.make(connection)),
            note,
        )

    def takes_commits(self) -> bool:
        """Return whether a transaction that changes the store succeeds now.

        A storage may still be read when it takes no commits any more.
        """

        # the store itself is small, and nobody else writes it
        def write(store: Store) -> None:
            store._p_changed = True

        try:
            self.write(write, note="a test whether the storage works")
        except Exception:  # noqa: BLE001 - whatever a driver raises
            return False
        return True

    def prepare(self, work: Callable[[Store], None]) -> None:
        """Make the store if it is not made yet, before jobs are run.

        Args:
            work: changes the store; see :meth:`write`.

        Raises:
            StoreNotUsable: see :meth:`find`; or nothing can be written, for
                the database is MariaDB.
        """
        try:
            self.write(work, note="the store of jobs")
        except Exception as error:
            # what the server itself says of SQL that it does not understand
            if storage_failed(error) and "MariaDB" in str(error):
                raise StoreNotUsable(
                    "RelStorage does not work with MariaDB, whose SQL is not"
                    " that of MySQL: use MySQL, PostgreSQL or ZEO"
                ) from error
            raise


class RootLocation(StoreLocation):
    """The location of a store at a fixed key in the root of a database.

    Args:
        get_db: returns the database.
        factory: makes the store; it is called with *timeout*.
        key: the key. Applications that share a database have one each.
        timeout: for how long the store's first slice stores outcomes, in
            seconds.
    """

    def __init__(
        self,
        get_db: Callable[[], DB],
        factory: Callable[..., Store] = Store,
        *,
        key: str = DEFAULT_STORE,
        timeout: float = 3600,
    ) -> None:
        super().__init__(get_db)
        self._key = key
        self._factory = factory
        self._timeout = timeout

    def find(self, connection: Connection) -> Store | None:
        """See :class:`StoreLocation`."""
        # connection.root() and get() of the mapping take twice as long
        root: Any = connection.get(z64)
        found = root.data.get(self._key)
        if found is None:
            return None
        if not isinstance(found, Store):
            raise StoreNotUsable(
                f"root()[{self._key!r}] of the database"
                f" {connection.db().database_name!r} is no store of jobs, but"
                f" a {type(found).__qualname__}; what the application keeps"
                " there must have another name, or the setting"
                " zodb_async.store be another one"
            )
        found.require_format()
        return found

    def has(self, store: Store) -> bool:
        """See :class:`StoreLocation`."""
        jar = store._p_jar  # none while it is new
        return jar is not None and jar.get(z64).data.get(self._key) is store

    def make(self, connection: Connection) -> Store:
        """See :class:`StoreLocation`."""
        store = self.find(connection)
        if store is not None:
            store.upgrade()
        # Of two processes that make it at the same time, one conflicts on the
        # root; in write() it is then repeated and finds the other's store.
        if store is None:
            store = self._factory(self._timeout)
            connection.root()[self._key] = store
        return store

    def prepare(self, work: Callable[[Store], None]) -> None:
        """See :class:`StoreLocation`; also log which jobs are not run."""

        def look(connection: Connection) -> tuple[bool, list[str]]:
            is_new = self.find(connection) is None
            return is_new, other_stores(connection, self._key)

        is_new, others = in_own_transaction(self.db, look)
        super().prepare(work)
        tell_of_other_stores(
            self.db.database_name, self._key, others, is_new=is_new
        )


class ObjectLocation(StoreLocation):
    """The location of a store that an application has stored by itself.

    Args:
        db: the database.
        oid: the oid of the store.
    """

    def __init__(self, db: DB, oid: bytes) -> None:
        super().__init__(lambda: db)
        self._oid = oid
        self._gone_was_logged = False

    def is_gone(self) -> bool:
        """See :class:`StoreLocation`; that it is gone is logged once."""

        def load(connection: Connection) -> None:
            store = connection.get(self._oid)
            # the connection may have its state still
            store._p_deactivate()
            store._p_activate()

        try:
            in_own_transaction(self.db, load)
        except POSKeyError:
            if not self._gone_was_logged:
                self._gone_was_logged = True
                log.warning(
                    "The scheduler with the oid %s was removed from the"
                    " database; its jobs end without an outcome.",
                    self._oid.hex(),
                    extra={"action": "scheduler_removed"},
                )
            return True
        return False

    def read(self, work: Callable[[Store], T], default: T) -> T:
        """See :class:`StoreLocation`."""
        try:
            return super().read(work, default)
        except POSKeyError:
            if not self.is_gone():
                raise
            return default

    def write(self, work: Callable[[Store], T], note: str) -> T:
        """See :class:`StoreLocation`.

        Raises:
            TakenOver: the store is gone, and with it its jobs.
        """
        try:
            return super().write(work, note)
        except POSKeyError as error:
            if not self.is_gone():
                raise
            raise TakenOver("The scheduler of the job was removed") from error

    def find(self, connection: Connection) -> Store | None:
        """See :class:`StoreLocation`."""
        try:
            return self._load(connection)
        except POSKeyError:
            return None  # the application has not committed it yet

    def make(self, connection: Connection) -> Store:
        """See :class:`StoreLocation`.

        Raises:
            POSKeyError: the application has not stored it.
        """
        store = self._load(connection)
        store.upgrade()
        return store

    def _load(self, connection: Connection) -> Store:
        store: Store = connection.get(self._oid)
        store.require_format()
        return store
