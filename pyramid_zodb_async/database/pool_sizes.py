"""Warns of pools of connections that are too small for a process."""

import logging
from typing import Any
from urllib.parse import parse_qsl, urlencode

from ..settings import ISettings
from .application import databases_of

__all__ = ["check_pools", "check_pools_of_worker"]

log = logging.getLogger(__name__)

#: The option of a zodbconn.uri.
OPTION = "connection_pool_size"


def check_pools(registry: Any, workers: int) -> None:
    """Warn of each database whose pool has too little room.

    A pool that is too small still gives connections, but the ZODB complains,
    and each that does not fit begins with an empty cache.

    Args:
        registry: that of an application that serves.
        workers: how many jobs the process runs at a time.
    """
    threads = registry.getUtility(ISettings).server_threads
    users = f"{threads} threads of the server, {workers} workers"
    _check(registry, threads + workers, users)


def check_pools_of_worker(registry: Any, threads: int) -> None:
    """Do so for a process that only runs jobs, on so many threads."""
    _check(registry, threads, f"{threads} threads of the worker")


def _check(registry: Any, number: int, users: str) -> None:
    needed = number + 1
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
            _cure(setting, registry.settings.get(setting), needed),
            extra={"action": "pool_too_small", "database": name},
        )


def _cure(setting: str, uri: str | None, size: int) -> str:
    """Tell what to set, so that a pool has room for *size*."""
    if uri is None:
        return f"its pool_size to {size} where it is made"
    if uri.startswith("zconfig:"):
        return f"'pool-size {size}' in the file that {setting} = {uri} names"
    place, _, query = uri.partition("?")
    options = [
        (name, value)
        for name, value in parse_qsl(query, keep_blank_values=True)
        if name != OPTION
    ]
    # a password is not for a log
    scheme, separator, rest = place.rpartition("@")
    if separator:
        place = f"{scheme.partition('://')[0]}://…@{rest}"
    options.append((OPTION, str(size)))
    return f"{setting} = {place}?{urlencode(options, safe='/:')}"
