"""Whose database connections are whose, and how each party gets its own."""

import contextlib
import contextvars
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import transaction
from ZODB.Connection import Connection
from ZODB.DB import DB

from ..exceptions import JobNotLoadable
from ..interfaces import Connections

__all__ = [
    "JarConnections",
    "OpenedConnections",
    "ThreadConnections",
    "current_connections",
    "root_connection_of_thread",
    "use_connections",
]


class _Root(NamedTuple):
    connection: Connection
    #: Tells this use of the connection from later ones by others.
    since: float | None
    adopted: bool
    close: bool

    def is_open(self) -> bool:
        """Tell whether nobody closed the connection in the meantime."""
        return self.since is not None and self.connection.opened == self.since


class OpenedConnections:
    """Connections opened on demand, one per database, closed together."""

    def __init__(self, transaction_manager: Any) -> None:
        self.transaction_manager = transaction_manager
        self._roots: dict[int, _Root] = {}

    def to(self, db: DB) -> Connection:
        """Give the connection to *db*, opened now if need be.

        Databases that know each other are reached through one of them, so
        that none is opened twice in a transaction: that can deadlock.
        """
        root = self.known(db)
        if root is None:
            root = db.open(transaction_manager=self.transaction_manager)
            self._keep(root, adopted=False, close=True)
        return root.get_connection(db.database_name)

    def _keep(
        self, connection: Connection, *, adopted: bool, close: bool
    ) -> None:
        key = id(connection.db().databases)
        self._roots[key] = _Root(connection, connection.opened, adopted, close)

    def own(self, jar: Connection) -> bool:
        """See :class:`~pyramid_zodb_async.interfaces.Connections`."""
        return _share_transactions(jar, self.transaction_manager)

    def known(self, db: DB) -> Connection | None:
        """Give the root connection for *db* if there is one already."""
        root = self._roots.get(id(db.databases))
        return root.connection if root and root.is_open() else None

    def adopt(self, connection: Connection, *, close: bool = False) -> None:
        """Use *connection* for its databases; close it only with *close*.

        Raises:
            ValueError: another connection to them is in use already.
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
        """Give the connection that is open if there is exactly one."""
        return self._only(lambda _root: True)

    def adopted(self) -> Connection | None:
        """Give the adopted connection if there is exactly one."""
        return self._only(lambda root: root.adopted)

    def _only(self, wanted: Callable[[_Root], bool]) -> Connection | None:
        roots = [
            root.connection
            for root in self._roots.values()
            if root.is_open() and wanted(root)
        ]
        return roots[0] if len(roots) == 1 else None

    def close(self, current: Any = None) -> None:
        """Close what was opened here; its transaction must be over.

        *current* is that transaction, if this is one of its hooks: it aborts
        what takes part in it once more after them, when a closed connection
        may be another thread's already.
        """
        roots = list(self._roots.values())
        self._roots.clear()
        for root in roots:
            if not (root.close and root.is_open()):
                continue
            if current is not None:
                for connection in root.connection.connections.values():
                    current._unjoin(connection)  # noqa: SLF001
            root.connection.close()


def _share_transactions(jar: Connection, transaction_manager: Any) -> bool:
    manager = jar.transaction_manager
    if (
        isinstance(manager, transaction.ThreadTransactionManager)
        # opened as pyramid_zodbconn does, maybe by another thread
        and jar not in manager.manager._synchs  # noqa: SLF001
    ):
        return False
    return _of_thread(jar.transaction_manager) is _of_thread(
        transaction_manager
    )


def _of_thread(transaction_manager: Any) -> Any:
    """Give the calling thread's manager where there is one per thread."""
    if isinstance(transaction_manager, transaction.ThreadTransactionManager):
        return transaction_manager.manager
    return transaction_manager


class JarConnections:
    """The connection of a persistent object, and those that belong to it."""

    def __init__(self, jar: Connection) -> None:
        self._jar = jar
        self._since = jar.opened
        self.transaction_manager = jar.transaction_manager

    def to(self, db: DB) -> Connection:
        """See :class:`~pyramid_zodb_async.interfaces.Connections`.

        Raises:
            JobNotLoadable: the connection was closed, and may be another
                thread's by now.
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
    """The connections of the current transaction, closed when it ends."""

    def __init__(self, transaction_manager: Any = transaction.manager) -> None:
        self.transaction_manager = transaction_manager

    def to(self, db: DB) -> Connection:
        """See :class:`~pyramid_zodb_async.interfaces.Connections`."""
        return self.opened().to(db)

    def own(self, jar: Connection) -> bool:
        """See :class:`~pyramid_zodb_async.interfaces.Connections`.

        A connection of the caller's own is from then on the one to its
        databases, unless another is in use.
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
        """Give the connections that the current transaction has."""
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
    """A hook that closes the connections of its transaction."""

    def __init__(self, current: Any, opened: OpenedConnections) -> None:
        self._current = current
        self._opened = opened

    def __call__(self, _committed: bool = False) -> None:  # noqa: FBT001, FBT002 - a hook's signature
        self._opened.close(self._current)
        # whoever opens one after this needs hooks of its own
        if _opened(self._current) is self._opened:
            self._current.set_data(_OF_TRANSACTION, None)


_OF_TRANSACTION = object()


class _InThread(threading.local):
    def __init__(self) -> None:
        self.opened: weakref.WeakSet[OpenedConnections] = weakref.WeakSet()


_in_this_thread = _InThread()


def root_connection_of_thread(db: DB) -> Connection | None:
    """Give the root connection for *db* that this thread has told of.

    It may belong to any transaction manager: an application with an explicit
    one has no connection of the thread's own.
    """
    for opened in list(_in_this_thread.opened):
        if connection := opened.known(db):
            return connection
    return None


# with the thread that set it, for contexts are copied into other threads
_current: contextvars.ContextVar[tuple[threading.Thread, Connections]] = (
    contextvars.ContextVar("connections")
)


def current_connections() -> Connections:
    """Give the connections of the running job, else of the transaction."""
    thread, connections = _current.get((None, None))
    if connections is None or thread is not threading.current_thread():
        return ThreadConnections()
    return connections


@contextlib.contextmanager
def use_connections(connections: Connections) -> Iterator[None]:
    """Make *connections* the current ones of this thread for the block."""
    token = _current.set((threading.current_thread(), connections))
    try:
        yield
    finally:
        _current.reset(token)
