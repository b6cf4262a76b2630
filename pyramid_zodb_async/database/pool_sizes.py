"""Warnings about connection pools that are too small for a process."""

from typing import Any
from urllib.parse import parse_qsl, urlencode

from ..concurrency.loggers import get_logger
from ..settings import ISettings
from .application import databases_of

__all__ = ["check_pools", "check_pools_of_worker"]

log = get_logger(__name__)

#: The option of a ``zodbconn.uri`` that sets the size of the pool.
OPTION = "connection_pool_size"


def check_pools(registry: Any, workers: int) -> None:
    """Warn of each database whose connection pool is too small.

    A pool that is too small still opens connections. But the ZODB logs a
    warning, and each connection in excess begins with an empty cache.

    Args:
        registry: the registry of an application that serves requests.
        workers: how many jobs the process runs at a time.
    """
    threads = registry.getUtility(ISettings).server_threads
    users = f"{threads} threads of the server, {workers} workers"
    _check(registry, threads + workers, users)


def check_pools_of_worker(registry: Any, threads: int) -> None:
    """Warn as :func:`check_pools` does, in a process that only runs jobs.

    Args:
        registry: the registry of the application.
        threads: how many jobs the process runs at a time.
    """
    _check(registry, threads, f"{threads} threads of the worker")


def _check(registry: Any, number: int, users: str) -> None:
    needed = number + 1  # one for the housekeeper
    for name, db in databases_of(registry).items():
        if db.getPoolSize() >= needed:
            continue
        setting = f"zodbconn.uri.{name}" if name else "zodbconn.uri"
        log.warning(
            "The pool of the database %r has room for %d connections, and %s"
            " and the housekeeper may use %d: set %s.",
            name,
            db.getPoolSize(),
            users,
            needed,
            _what_to_set(setting, registry.settings.get(setting), needed),
            extra={"action": "pool_too_small", "database": name},
        )


def _what_to_set(setting: str, uri: str | None, size: int) -> str:
    """Describe how to set the size of a pool to *size*."""
    if uri is None:
        return f"its pool_size to {size} where it is made"
    if uri.startswith("zconfig:"):
        return f"'pool-size {size}' in the file that {setting} = {uri} names"
    address, _, query = uri.partition("?")
    options = [
        (name, value)
        for name, value in parse_qsl(query, keep_blank_values=True)
        if name != OPTION
    ]
    # without the user and the password, which must not be in a log
    scheme, separator, rest = address.rpartition("@")
    if separator:
        address = f"{scheme.partition('://')[0]}://…@{rest}"
    options.append((OPTION, str(size)))
    return f"{setting} = {address}?{urlencode(options, safe='/:')}"
