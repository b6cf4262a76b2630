"""The databases of an application, as pyramid_zodbconn opened them."""

from typing import Any

from pyramid.exceptions import ConfigurationError
from pyramid_zodbconn import get_connection
from ZODB.Connection import Connection
from ZODB.DB import DB

from ..exceptions import JobNotLoadable, NotTransferable

__all__ = ["RequestConnections", "database_of", "databases_of"]


def databases_of(registry: Any) -> dict[str, DB]:
    """Return the databases of an application by their names.

    Args:
        registry: the application's; there are none if it does not include
            pyramid_zodbconn, or has configured no database.
    """
    # which has no public way to them but through the connection of a request
    databases: dict[str, DB] | None = getattr(
        registry, "_zodb_databases", None
    )
    return databases or {}


def database_of(registry: Any, name: str) -> DB:
    """Return the database of an application that keeps its jobs.

    Args:
        registry: the application's.
        name: the name of the database, empty for the primary one.

    Raises:
        ConfigurationError: pyramid_zodbconn has not opened it.
    """
    try:
        return databases_of(registry)[name]
    except KeyError:
        raise ConfigurationError(
            "The jobs are kept in the database, and pyramid_zodbconn is not"
            " included: config.include('pyramid_zodbconn')"
        ) from None


class RequestConnections:
    """See :class:`~pyramid_zodb_async.interfaces.Connections`."""

    def __init__(self, request: Any) -> None:
        self._request = request
        self.transaction_manager = request.tm
        self._is_over = False
        request.add_finished_callback(self._end)

    def _end(self, request: Any) -> None:
        # from now on its connection may be anybody's, and one that it opened
        # would stay open
        self._is_over = True

    @property
    def _databases(self) -> dict[str, DB]:
        return databases_of(self._request.registry)

    def to(self, db: DB) -> Connection:
        """Give the request's connection to *db*."""
        if self._is_over:
            raise JobNotLoadable(
                "The request that asked for the job is over; ask for the job"
                " in the request that needs its persistent objects"
            )
        name = db.database_name
        if self._databases.get(name) is not db:
            raise JobNotLoadable(
                f"The database {name!r} is none that pyramid_zodbconn opened"
                " for this application"
            )
        return get_connection(self._request, name or None)

    def sole(self) -> Connection | None:
        """Give the connection to the primary database, if there is one."""
        return get_connection(self._request) if self._databases else None

    def own(self, jar: Connection) -> bool:
        """Tell whether *jar* is a connection of this request.

        Raises:
            NotTransferable: the application has no database for jobs.
        """
        if self._is_over:
            return False
        if not self._databases:
            raise NotTransferable(
                "it is, or holds, a persistent object, and the application"
                " has no database that a job could load it from; include"
                " pyramid_zodbconn and set zodbconn.uri"
            )
        connections = get_connection(self._request).connections
        return any(jar is connection for connection in connections.values())
