"""The start of the scheduler, at the first request or with the application."""

from collections.abc import Callable
from os import getpid
from typing import Any

from pyramid.exceptions import ConfigurationError

from ..concurrency.loggers import get_logger
from ..database.application import database_of
from ..database.begun_transactions import (
    IN_REQUEST,
    of_thread,
    watch_begins,
    watch_of,
)
from ..database.pool_sizes import check_pools
from ..database.storages import describe_storage, keeps_its_commits
from ..exceptions import JobError
from ..interfaces import IEngine, IRemoteEngine, IScheduler
from ..settings import ISettings
from .forked import Forks
from .scripts import is_made_by_script, is_of_script
from .sigterm import stop_on_sigterm
from .uwsgi import may_start_at_once, warn_of_missing_threads

__all__ = ["start_at_once", "start_scheduler_factory"]

log = get_logger(__name__)

#: The keys that the tween of pyramid_tm leaves in the environ if its begin()
#: fails. That happens while the storage is away: when a transaction begins,
#: its connections ask their storages for changes. The next attempt of
#: pyramid_retry has the same environ. With these keys, pyramid_tm would assume
#: that other code manages a transaction for it: the request would be answered
#: as a success, and nothing would be committed.
MARKS = frozenset({"tm.active", "tm.manager"})


def start_scheduler_factory(
    handler: Callable[[Any], Any], registry: Any
) -> Callable[[Any], Any]:
    """Return a tween that starts the scheduler at the first request.

    So the scheduler is started in a process that serves requests, and not in
    one that only loads the application and forks, nor in a script, also if
    that asks the application for a page. A process that was forked too late
    to use its database refuses all requests. The tween also removes what
    pyramid_tm leaves in the environ after a failure, and lets
    ``request.schedule`` know which transactions somebody has begun.

    Args:
        handler: what handles the request below the tween.
        registry: the registry of the application.
    """
    to_do = [start_scheduler]
    made_by_script = is_made_by_script()
    forks = Forks(registry)
    # whether requests may have another manager than that of the thread
    has_managers = "tm.manager_hook" in registry.settings

    def start_scheduler_tween(request: Any) -> Any:
        # first, as whatever asks the database would hang
        if getpid() != forks.process and (refusal := forks.refusal()):
            return refusal
        # Without a lock: if two threads get here at the same time, both start
        # it, and the second start has no effect.
        environ = request.environ
        if (
            to_do
            and not is_of_script(environ, made_by_script=made_by_script)
            and start_scheduler(registry)
        ):
            to_do.clear()
        # before a transaction begins, and once in a thread
        if of_thread.watch is None:
            watch_begins()
        environ[IN_REQUEST] = None
        # Without those that are there before the request is handled: they
        # belong to code around this tween, which manages the transaction.
        marks = MARKS - environ.keys()
        try:
            return handler(request)
        finally:
            for mark in marks:
                environ.pop(mark, None)
            if has_managers:
                manager = vars(request).get("tm")
                if not getattr(manager, "explicit", True):
                    # of what callbacks do after this
                    environ[IN_REQUEST] = watch_of(manager)

    return start_scheduler_tween


def start_scheduler(registry: Any) -> bool:
    """Start the scheduler of an application, or log why that is impossible.

    If it fails, the application serves requests nevertheless. Scheduling a
    job then raises the error.

    Args:
        registry: the registry of the application.

    Returns:
        Whether the caller need not try again: the scheduler was started, or
        its failure is permanent.
    """
    try:
        registry.getUtility(IScheduler).start()
        check_pools(registry, registry.getUtility(IEngine).workers or 0)
    except JobError:
        # permanent, for example a store of a later format
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
    """Prepare the process for jobs when the application has been made.

    This handles SIGTERM and starts the scheduler, if the settings say so, and
    warns of a server without threads. In a script, which ends soon, it does
    not start: that would take over what servers are to run, and leave it
    unfinished.

    Args:
        event: Pyramid's ``ApplicationCreated``.

    Raises:
        ConfigurationError: other processes are to run the jobs, and cannot
            open the database.
    """
    registry = event.app.registry
    settings = registry.getUtility(ISettings)
    engine = registry.getUtility(IEngine)
    if IRemoteEngine.providedBy(engine):
        _require_shared(database_of(registry, settings.database))
        if engine.is_worker:
            # Celery handles SIGTERM, and the worker starts the scheduler in
            # each of its processes.
            return
    warn_of_missing_threads()
    # before the start, so that a SIGTERM finds the handler once jobs can run
    if settings.stop_on_sigterm:
        stop_on_sigterm()
    if settings.autostart and not is_made_by_script() and may_start_at_once():
        start_scheduler(registry)


def _require_shared(db: Any) -> None:
    """Refuse a database that the processes of workers cannot open."""
    if keeps_its_commits(db.storage):
        raise ConfigurationError(
            "With zodb_async.engine = celery, the processes that run jobs are"
            " others, and what is committed to this"
            f" {describe_storage(db.storage)} is seen by one process only:"
            " use ZEO or RelStorage"
        )
