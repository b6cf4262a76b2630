"""The database connections of transactions, threads and persistent objects."""

import contextvars
import threading
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import transaction
from ZODB.Connection import Connection
from ZODB.DB import DB

from ..concurrency.context_values import ContextValue
from ..exceptions import JobNotLoadable
from ..interfaces import Connections
from .internals import is_registered, leave_transaction

__all__ = [
    "JarConnections",
    "OpenedConnections",
    "ThreadConnections",
    "current_connections",
    "root_connection_of_thread",
    "use_connections",
]


class _Root(NamedTuple):
    """A connection through which those to related databases are reached."""

    connection: Connection
    #: When the connection was opened. The ZODB sets a new time when it opens
    #: a connection again, for another user.
    since: float | None
    #: Whether the caller has opened it.
    adopted: bool
    #: Whether to close it when the transaction has ended.
    close: bool

    def is_open(self) -> bool:
        """Return whether the connection was not closed since it was added."""
        return self.since is not None and self.connection.opened == self.since


class OpenedConnections:
    """Connections opened on demand, one per database, and closed together.

    Args:
        transaction_manager: the manager whose transaction they take part in.
    """

    def __init__(self, transaction_manager: Any) -> None:
        self.transaction_manager = transaction_manager
        self._roots: dict[int, _Root] = {}

    def to(self, db: DB) -> Connection:
        """Return the connection to *db*, which is opened if there is none.

        Databases that belong together (``db.databases``) are reached through
        one root connection, so that none is opened twice in a transaction:
        the commit of such a transaction can deadlock.

        Args:
            db: the database.
        """
        root = self.known(db)
        if root is None:
            root = db.open(transaction_manager=self.transaction_manager)
            self._keep(root, adopted=False, close=True)
        return root.get_connection(db.database_name)

    def _keep(
        self, connection: Connection, *, adopted: bool, close: bool
    ) -> None:
        # databases that belong together share this one dictionary
        key = id(connection.db().databases)
        self._roots[key] = _Root(connection, connection.opened, adopted, close)

    def own(self, jar: Connection) -> bool:
        """See :class:`~pyramid_zodb_async.interfaces.Connections`."""
        return _share_transactions(jar, self.transaction_manager)

    def known(self, db: DB) -> Connection | None:
        """Return the root connection for *db* if there is one already.

        Args:
            db: the database, or one that belongs together with it.
        """
        root = self._roots.get(id(db.databases))
        return root.connection if root and root.is_open() else None

    def adopt(self, connection: Connection, *, close: bool = False) -> None:
        """Use a connection that the caller has opened for its databases.

        Args:
            connection: the root connection.
            close: whether :meth:`close` closes it.

        Raises:
            ValueError: another root connection to these databases is in use.
        """
        root = self.known(connection.db())
        if root is None:
            self._keep(connection, adopted=True, close=close)
        elif root is not connection:
            raise ValueError(
                f"{root!r} is the root connection of this transaction"
                f" already, {connection!r} cannot be"
            )

    def sole(self) -> Connection | None:
        """Return the root connection if exactly one is open."""
        return self._only(lambda _root: True)

    def adopted(self) -> Connection | None:
        """Return the adopted connection if exactly one is open."""
        return self._only(lambda root: root.adopted)

    def _only(self, wanted: Callable[[_Root], bool]) -> Connection | None:
        roots = [
            root.connection
            for root in self._roots.values()
            if root.is_open() and wanted(root)
        ]
        return roots[0] if len(roots) == 1 else None

    def close(self, current: Any = None) -> None:
        """Close the connections; their transaction must have ended.

        Args:
            current: the transaction, if one of its hooks calls this; else
                ``None``. After its hooks, a transaction aborts all
                connections that take part in it once more. At that time a
                closed connection may be in use by another thread, whose
                changes would be lost, so they leave the transaction before.
        """
        roots = list(self._roots.values())
        # first, so that none is found here while, or after, it is closed
        self._roots.clear()
        for root in roots:
            if not (root.close and root.is_open()):
                continue
            if current is not None:
                # before the close, after which another thread may have them
                for connection in root.connection.connections.values():
                    leave_transaction(connection, current)
            root.connection.close()


def _share_transactions(jar: Connection, transaction_manager: Any) -> bool:
    """Return whether *jar* takes part in the transactions of a manager.

    With a manager that has one transaction per thread, that is a question of
    the calling thread.
    """
    manager = jar.transaction_manager
    if (
        isinstance(manager, transaction.ThreadTransactionManager)
        # pyramid_zodbconn opens its connections with this manager. The one of
        # another thread is not registered with the manager of this thread.
        and not is_registered(jar, manager.manager)
    ):
        return False
    return _of_thread(jar.transaction_manager) is _of_thread(
        transaction_manager
    )


def _of_thread(transaction_manager: Any) -> Any:
    """Return the calling thread's manager if there is one per thread."""
    if isinstance(transaction_manager, transaction.ThreadTransactionManager):
        return transaction_manager.manager
    return transaction_manager


class JarConnections:
    """The connection of a persistent object, and those to related databases.

    Args:
        jar: the connection.
    """

    def __init__(self, jar: Connection) -> None:
        self._jar = jar
        self._since = jar.opened
        self.transaction_manager = jar.transaction_manager

    def to(self, db: DB) -> Connection:
        """See :class:`~pyramid_zodb_async.interfaces.Connections`.

        Raises:
            JobNotLoadable: the connection was closed, so another thread may
                use it by now.
        """
        if self._since is None or self._jar.opened != self._since:
            raise JobNotLoadable(
                "The connection that asked for the job was closed; ask for the"
                " job where its persistent objects are needed"
            )
        return self._jar.get_connection(db.database_name)

    def own(self, jar: Connection) -> bool:
        """See :class:`~pyramid_zodb_async.interfaces.Connections`."""
        return any(jar is own for own in self._jar.connections.values())

    def sole(self) -> Connection:
        """See :class:`~pyramid_zodb_async.interfaces.Connections`."""
        return self._jar


class ThreadConnections:
    """The connections of the current transaction, closed when it ends.

    Args:
        transaction_manager: the manager whose current transaction is meant;
            by default that of the calling thread.
    """

    def __init__(self, transaction_manager: Any = transaction.manager) -> None:
        self.transaction_manager = transaction_manager

    def to(self, db: DB) -> Connection:
        """See :class:`~pyramid_zodb_async.interfaces.Connections`."""
        return self.opened().to(db)

    def own(self, jar: Connection) -> bool:
        """See :class:`~pyramid_zodb_async.interfaces.Connections`.

        If *jar* takes part in the transaction and there is no other root
        connection to its databases, it is adopted as that.
        """
        if not _share_transactions(jar, self.transaction_manager):
            return False
        opened = self.opened()
        if opened.known(jar.db()) is None:
            opened.adopt(jar)
        return True

    def sole(self) -> Connection | None:
        """See :class:`~pyramid_zodb_async.interfaces.Connections`."""
        return self.opened().adopted()

    def opened(self) -> OpenedConnections:
        """Return the connections that the current transaction has."""
        current = self.transaction_manager.get()
        opened = _opened(current)
        if opened is None:
            opened = OpenedConnections(self.transaction_manager)
            current.set_data(_OF_TRANSACTION, opened)
            close = _Closing(current, opened)
            current.addAfterCommitHook(close)
            current.addAfterAbortHook(close)
            _in_this_thread.opened.add(opened)
        return opened


def _opened(current: Any) -> OpenedConnections | None:
    try:
        opened: OpenedConnections | None = current.data(_OF_TRANSACTION)
    except KeyError:
        return None
    return opened


class _Closing:
    """A hook that closes the connections of a transaction after its end."""

    def __init__(self, current: Any, opened: OpenedConnections) -> None:
        self._current = current
        self._opened = opened

    def __call__(self, _committed: bool = False) -> None:  # noqa: FBT001, FBT002 - a hook's signature
        self._opened.close(self._current)
        # A connection that a later hook opens needs new hooks to close it,
        # which only a new OpenedConnections gets: see opened().
        if _opened(self._current) is self._opened:
            self._current.set_data(_OF_TRANSACTION, None)


# the key of the OpenedConnections in the data of their transaction
_OF_TRANSACTION = object()


class _InThread(threading.local):
    def __init__(self) -> None:
        self.opened: weakref.WeakSet[OpenedConnections] = weakref.WeakSet()


_in_this_thread = _InThread()


def root_connection_of_thread(db: DB) -> Connection | None:
    """Return the root connection for *db* that this thread uses, if any.

    It is found whatever transaction manager it belongs to: with an explicit
    manager it does not belong to the thread's own.

    Args:
        db: the database, or one that belongs together with it.
    """
    for opened in list(_in_this_thread.opened):
        if connection := opened.known(db):
            return connection
    return None


# The value names the thread that has set it, because a context can be copied
# into another thread, which must not use these connections.
_current: contextvars.ContextVar[tuple[threading.Thread, Connections]] = (
    contextvars.ContextVar("connections")
)


def current_connections() -> Connections:
    """Return the connections of the running job, or of the transaction."""
    thread, connections = _current.get((None, None))
    if connections is None or thread is not threading.current_thread():
        return ThreadConnections()
    return connections


def use_connections(connections: Connections) -> AbstractContextManager[Any]:
    """Make *connections* the current ones of this thread in a ``with`` block.

    Args:
        connections: what :func:`current_connections` returns in the block.
    """
    return ContextValue(_current, (threading.current_thread(), connections))
