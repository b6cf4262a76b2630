"""What an application has: its databases, their connections, and its root."""

from typing import Any

from pyramid.exceptions import ConfigurationError
from pyramid.interfaces import IRootFactory
from pyramid.traversal import DefaultRootFactory
from pyramid_zodbconn import get_connection
from ZODB.Connection import Connection
from ZODB.DB import DB

from ..exceptions import JobNotLoadable, NotTransferable

__all__ = [
    "RequestConnections",
    "connections_of",
    "database_of",
    "databases_of",
    "make_root",
    "share_connections",
]


def databases_of(registry: Any) -> dict[str, DB]:
    """Return the databases of an application by their names.

    The name of the primary one is empty.

    Args:
        registry: the registry of the application.

    Returns:
        The databases. There are none if the application does not include
        pyramid_zodbconn, or has configured no database.
    """
    # as of pyramid_zodbconn 0.8.1, which has no public way to them but by the
    # connection of a request, which it opens for that
    databases: dict[str, DB] | None = getattr(
        registry, "_zodb_databases", None
    )
    return databases or {}


def database_of(registry: Any, name: str) -> DB:
    """Return the database of an application that contains its jobs.

    Args:
        registry: the registry of the application.
        name: the name of the database, empty for the primary one.

    Raises:
        ConfigurationError: pyramid_zodbconn has not opened the database.
    """
    try:
        return databases_of(registry)[name]
    except KeyError:
        raise ConfigurationError(
            "The jobs are kept in the database, and pyramid_zodbconn is not"
            " included: config.include('pyramid_zodbconn')"
        ) from None


def make_root(request: Any) -> Any:
    """Return the root that the application makes for a request.

    Args:
        request: the request, which knows its registry.
    """
    factory = request.registry.queryUtility(
        IRootFactory, default=DefaultRootFactory
    )
    return factory(request)


def share_connections(owner: Any, request: Any) -> None:
    """Have a request use the connections of another one.

    They are closed with that one.

    Args:
        owner: the request that has the connections.
        request: the request that is to use them, in the same transaction.
    """
    if databases_of(owner.registry):
        # where pyramid_zodbconn 0.8.1 keeps that of a request; it has no
        # public way to set it
        request._primary_zodb_conn = get_connection(owner)  # noqa: SLF001


def connections_of(request: Any) -> list[Connection]:
    """Return the connections that a request has, in all databases.

    Args:
        request: the request.
    """
    if not databases_of(request.registry):
        return []
    return list(get_connection(request).connections.values())


class RequestConnections:
    """See :class:`~pyramid_zodb_async.interfaces.Connections`."""

    def __init__(self, request: Any) -> None:
        self._request = request
        self.transaction_manager = request.tm
        self._is_over = False
        request.add_finished_callback(self._end)

    def _end(self, request: Any) -> None:
        # pyramid_zodbconn closes the connections of the request in a callback
        # like this one. From then on another thread may use them, and
        # nothing would close a connection that is opened for this request.
        self._is_over = True

    @property
    def _databases(self) -> dict[str, DB]:
        return databases_of(self._request.registry)

    def to(self, db: DB) -> Connection:
        """Return the request's connection to *db*.

        Args:
            db: a database that pyramid_zodbconn has opened.

        Raises:
            JobNotLoadable: the request has ended, or pyramid_zodbconn has not
                opened the database for this application.
        """
        if self._is_over:
            raise JobNotLoadable(
                "The request that asked for the job is over; ask for the job"
                " in the request that needs its persistent objects"
            )
        name, request = db.database_name, self._request
        if databases_of(request.registry).get(name) is not db:
            raise JobNotLoadable(
                f"The database {name!r} is none that pyramid_zodbconn opened"
                " for this application"
            )
        return get_connection(request, name or None)

    def sole(self) -> Connection | None:
        """Return the connection to the primary database, if there is one."""
        return get_connection(self._request) if self._databases else None

    def own(self, jar: Connection) -> bool:
        """Return whether *jar* is a connection of this request.

        Args:
            jar: the connection of a persistent object.

        Raises:
            NotTransferable: the application has no database.
        """
        if self._is_over:
            return False
        if not self._databases:
            raise NotTransferable(
                "it is, or holds, a persistent object, and the application"
                " has no database that a job could load it from; include"
                " pyramid_zodbconn and set zodbconn.uri"
            )
        return any(
            jar is connection for connection in connections_of(self._request)
        )
