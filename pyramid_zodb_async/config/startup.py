"""Surrounds requests: starts the scheduler, and keeps attempts apart."""

import logging
from collections.abc import Callable
from typing import Any

from pyramid.exceptions import ConfigurationError

from ..database.application import database_of
from ..database.pool_sizes import check_pools
from ..database.storages import is_for_one_process
from ..exceptions import JobError
from ..interfaces import IEngine, IRemoteEngine, IScheduler
from ..settings import ISettings
from .sigterm import stop_on_sigterm

__all__ = ["start_at_once", "start_scheduler_factory"]

log = logging.getLogger(__name__)

#: What pyramid_tm leaves in the environ when it cannot begin. When a
#: transaction begins, its connections ask their storages for changes; that
#: fails while the storage is away. pyramid_tm would take the next attempt of
#: pyramid_retry, which has the same environ, for one whose transaction is
#: another's to commit: it would be answered as if all were well, and nothing
#: would be committed.
MARKS = frozenset({"tm.active", "tm.manager"})


def start_scheduler_factory(
    handler: Callable[[Any], Any], registry: Any
) -> Callable[[Any], Any]:
    """Make a tween that starts the scheduler.

    So it starts in the process that serves, not in one that only loads the
    application and forks, and not in a script.
    """
    to_do = [start_scheduler]

    def start_scheduler_tween(request: Any) -> Any:
        # another thread may come here as well; a second start is none
        if to_do and start_scheduler(registry):
            to_do.clear()
        environ = request.environ
        marks = MARKS - environ.keys()
        try:
            return handler(request)
        finally:
            for mark in marks:
                environ.pop(mark, None)

    return start_scheduler_tween


def start_scheduler(registry: Any) -> bool:
    """Start the scheduler of an application, or log why that is impossible.

    The application serves all the same; to schedule a job will say the same.
    Returns whether it makes no sense to try again.
    """
    try:
        registry.getUtility(IScheduler).start()
        check_pools(registry, registry.getUtility(IEngine).workers or 0)
    except JobError:
        log.critical(
            "This process runs no jobs.",
            exc_info=True,
            extra={"action": "scheduler_not_started"},
        )
    except Exception:
        log.exception(
            "This process runs no jobs yet; the next request tries again.",
            extra={"action": "scheduler_not_started"},
        )
        return False
    return True


def start_at_once(event: Any) -> None:
    """Do what is to be done when the application is made.

    Args:
        event: tells of it; an ``ApplicationCreated``.

    Raises:
        ConfigurationError: other processes are to run its jobs, and cannot
            open its database.
    """
    registry = event.app.registry
    settings = registry.getUtility(ISettings)
    engine = registry.getUtility(IEngine)
    if IRemoteEngine.providedBy(engine):
        _require_shared(database_of(registry, settings.database))
        if engine.is_worker:
            return  # which sees to these by itself
    if settings.stop_on_sigterm:
        stop_on_sigterm()
    if settings.autostart:
        start_scheduler(registry)


def _require_shared(db: Any) -> None:
    """Refuse a database that workers cannot open."""
    if is_for_one_process(db.storage):
        raise ConfigurationError(
            "With zodb_async.engine = celery, the processes that run jobs are"
            f" others, and a {type(db.storage).__name__} can be open in one"
            " process only: use ZEO or RelStorage"
        )
