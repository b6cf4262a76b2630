"""A context that passes persistent objects to another thread by reference."""

from collections.abc import KeysView
from typing import Any

from ZODB.Connection import Connection
from ZODB.DB import DB

from .database.connections import (
    ThreadConnections,
    current_connections,
    root_connection_of_thread,
)
from .exceptions import JobNotLoadable
from .transfer.references import SharedDatabase

__all__ = ["PersistentContext"]

Reference = tuple[str, bytes]


class PersistentContext:
    """References to persistent objects, for use in another thread.

    One thread makes a context of its objects and passes it on. Another thread
    gets the objects from it, loaded by a connection of its own::

        context = PersistentContext(shop, customer=customer)
        ...
        context[0], context["customer"]     # in the other thread

    ``len()`` counts the positional objects; ``get()`` and ``keys()`` are for
    the named ones. A scheduler does the same by itself for persistent
    objects in a job's arguments; a context is for code that passes objects
    on in its own way.

    In a job the objects come from the job's connection. Elsewhere they come
    from a root connection that is opened on demand and belongs to the
    thread's current transaction: it is closed when that ends. If a
    transaction opens the same database twice, its commit can deadlock. So if
    a connection is open already, call :meth:`set_root_connection` with it,
    also in the thread that has made the context.

    Another thread reads what was committed: pass a context on after the
    commit.

    Args:
        objs: persistent objects. If the first is a :class:`ZODB.DB.DB`, it
            is the root database; else that of the first object is.
        named_objs: persistent objects by name.

    Raises:
        AttributeError: an object is not persistent.
        ValueError: an object is not reachable from a database, not even
            after a savepoint, or is in a database that the root database
            does not know.
    """

    def __init__(self, /, *objs: Any, **named_objs: Any) -> None:
        database: DB | None = None
        if objs and isinstance(objs[0], DB):
            database, *objs = objs  # type: ignore[assignment]
        every = [*objs, *named_objs.values()]
        # first, as it gives new objects the connection and the oid that are
        # read below
        store_new(every)
        if database is None and every:
            database = every[0]._p_jar.db()
        self._database = SharedDatabase(database)
        self._objs = [self._reference(obj) for obj in objs]
        self._named_objs = {
            name: self._reference(obj) for name, obj in named_objs.items()
        }

    def _get_root_database(self) -> DB:
        """Return the database through which the others are opened.

        Subclasses may override this.

        Raises:
            LookupError: the context is empty and has no database.
        """
        if self._database.db is None:
            raise LookupError(
                "The context does not know its database: call"
                " set_root_connection() first, or give a DB as the first"
                " argument"
            )
        return self._database.db

    def _reference(self, obj: Any) -> Reference:
        db = obj._p_jar.db()
        name = db.database_name
        if self._get_root_database().databases.get(name) is not db:
            raise ValueError(
                f"{obj!r} is in the database {name!r}, which the root"
                " database does not know"
            )
        return name, obj._p_oid

    def __getitem__(self, key: int | str) -> Any:
        """Return an object, loaded by a connection of the calling thread.

        Args:
            key: the index of a positional object, or the name of a named one.

        Raises:
            IndexError: there is no such positional object.
            KeyError: there is no such named object.
            POSKeyError: the object was deleted, and the database packed.
            JobNotLoadable: the root connection cannot reach the database of
                the object.
        """
        if isinstance(key, int):
            return self._resolve(self._objs[key])
        return self._resolve(self._named_objs[key])

    def __len__(self) -> int:
        return len(self._objs)

    def get(self, name: str, default: Any = None) -> Any:
        """Return a named object, or a default.

        Args:
            name: the name of the object.
            default: what to return if there is no such object.
        """
        if name not in self._named_objs:
            return default
        return self[name]

    def keys(self) -> KeysView[str]:
        """Return the names of the named objects."""
        return self._named_objs.keys()

    def _resolve(self, reference: Reference) -> Any:
        name, oid = reference
        root = self.get_root_connection()
        if name not in root.db().databases:
            raise JobNotLoadable(
                f"The database {name!r} is none that belongs to {root!r}"
            )
        return root.get_connection(name).get(oid)

    def get_root_connection(self) -> Connection:
        """Return the connection that the objects are loaded from.

        Raises:
            LookupError: the context is empty, and there is no root
                connection.
        """
        current = current_connections()
        try:
            database = self._get_root_database()
        except LookupError:
            adopted = ThreadConnections(current.transaction_manager).sole()
            if connection := adopted or current.sole():
                return connection
            raise
        return root_connection_of_thread(database) or current.to(database)

    def set_root_connection(
        self,
        root_connection: Connection,
        close: bool = False,  # noqa: FBT001, FBT002 - as in the predecessor
    ) -> None:
        """Have contexts use a connection until its transaction ends.

        Args:
            root_connection: an open connection. Until the current transaction
                of its manager ends, contexts of this thread load objects from
                it and from the connections that it opens.
            close: whether to close it then.

        Raises:
            ValueError: the transaction has another root connection already,
                or *root_connection* is closed.
        """
        if root_connection.opened is None:
            raise ValueError(f"{root_connection!r} is closed")
        ThreadConnections(root_connection.transaction_manager).opened().adopt(
            root_connection, close=close
        )


def store_new(objs: list[Any]) -> None:
    """Have new objects stored, so that they have a database and an oid.

    This makes a savepoint, which stores what can be reached from objects that
    are stored already.

    Args:
        objs: persistent objects.

    Raises:
        AttributeError: an object is not persistent.
        ValueError: an object cannot be reached from a database.
    """
    new = [obj for obj in objs if obj._p_oid is None]
    if new:
        for transaction_manager in _transaction_managers(objs):
            transaction_manager.savepoint(optimistic=True)
    for obj in new:
        if obj._p_jar is None or obj._p_oid is None:
            raise ValueError(
                f"{obj!r} cannot be reached from a database: store it first."
                " If a request's explicit transaction manager hides it, give"
                " a stored object as well, or add() it to its connection"
            )


def _transaction_managers(objs: list[Any]) -> list[Any]:
    jars = [obj._p_jar for obj in objs if obj._p_jar is not None]
    managers = [jar.transaction_manager for jar in jars if jar.opened]
    return managers or [current_connections().transaction_manager]
