"""The construction of an application's scheduler, engine and runner."""

import importlib
from collections.abc import Callable
from typing import Any

from pyramid.exceptions import ConfigurationError

from ..database.application import database_of, databases_of
from ..database.forks import process_of
from ..engine.fault_injection import IInterventions, Interventions
from ..engine.inline import InlineEngine
from ..engine.manual import ManualEngine
from ..engine.threads import ThreadEngine
from ..execution.batches import Batches
from ..execution.request_surroundings import RequestSurroundings
from ..execution.runner import Runner
from ..interfaces import (
    IBatchEngine,
    IEngine,
    IEngineFactory,
    IScheduler,
)
from ..scheduler.durable import PersistentTransactionalScheduler
from ..scheduler.memory import MemoryScheduler
from ..scheduler.store.location import RootLocation
from ..scheduler.zodb import ZODBScheduler
from ..settings import ISettings, Settings, parse_settings
from ..web.poll_pacing import IPollPacer, PollPacer

__all__ = ["ENGINES", "assemble"]


def assemble(registry: Any) -> None:
    """Make a new scheduler with its engine, as utilities of the registry.

    They replace those that the registry has already.

    Args:
        registry: the registry of the application, with its settings.

    Raises:
        ConfigurationError: a setting is wrong, or requires a package that is
            not installed.
    """
    settings = parse_settings(registry.settings)
    for db in databases_of(registry).values():
        process_of(db)  # before this process forks
    scheduler = _make_scheduler(registry, settings)
    directed: Any = scheduler
    if settings.engine == "manual":
        directed = Interventions(scheduler)
        registry.registerUtility(directed, IInterventions)
    environment = RequestSurroundings(registry)
    runner = Runner(
        directed,
        environment,
        max_conflicts=settings.max_conflicts,
        attempts=settings.attempts,
        time_limit=settings.time_limit,
        public_errors=settings.public_errors,
        # the inline engine runs a job before the commit that scheduled it
        # returns, so a wait would block that thread
        waits_before_retry=settings.engine != "inline",
    )
    engine = _make_engine(registry, settings, runner)
    if IBatchEngine.providedBy(engine):
        engine.use_batches(Batches(runner, environment, engine.submit))
    # before use(), after which jobs can run and have events
    scheduler.announcer.registry = registry
    scheduler.use(engine)
    # last, so that the registry never has a scheduler that is not complete
    registry.registerUtility(settings, ISettings)
    registry.registerUtility(scheduler, IScheduler)
    registry.registerUtility(engine, IEngine)
    registry.registerUtility(PollPacer(engine.workers), IPollPacer)


def _make_scheduler(registry: Any, settings: Settings) -> Any:
    """Return the scheduler that the settings name."""
    if settings.scheduler == "memory":
        return MemoryScheduler(
            settings.result_timeout,
            max_pending=settings.max_pending,
            max_bulk=settings.max_bulk,
        )
    return ZODBScheduler(
        RootLocation(
            # called when the database is needed: an application may open it
            # later
            lambda: database_of(registry, settings.database),
            PersistentTransactionalScheduler,
            key=settings.store,
            timeout=settings.result_timeout,
        ),
        timeout=settings.result_timeout,
        max_pending=settings.max_pending,
        max_bulk=settings.max_bulk,
        attempts=settings.attempts,
        lease=settings.lease,
    )


def _make_engine(registry: Any, settings: Settings, runner: Runner) -> Any:
    """Return the engine that the settings name."""
    factory = registry.queryUtility(IEngineFactory, settings.engine)
    if factory is None:
        known = sorted(
            name for name, _ in registry.getUtilitiesFor(IEngineFactory)
        )
        raise ConfigurationError(
            f"The setting 'zodb_async.engine' is {settings.engine!r}, and"
            f" there is no such engine: there are {', '.join(known)}"
        )
    return factory(runner.run, settings)


def _make_threads(
    run: Callable[[str], float | None], settings: Settings
) -> ThreadEngine:
    return ThreadEngine(run, workers=settings.workers, grace=settings.grace)


def _make_inline(
    run: Callable[[str], float | None], _settings: Settings
) -> InlineEngine:
    return InlineEngine(run)


def _make_manual(
    run: Callable[[str], float | None], _settings: Settings
) -> ManualEngine:
    return ManualEngine(run)


def _make_celery(
    run: Callable[[str], float | None], settings: Settings
) -> Any:
    try:
        # imported only here, because it needs packages of the extra "celery"
        module = importlib.import_module("..engine.celery", __package__)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "The setting 'zodb_async.engine' is 'celery', and the package"
            f" {error.name} is not installed: pip install"
            " 'pyramid_zodb_async[celery]'"
        ) from error
    return module.make_engine(run, settings)


#: The factories of the package's own engines, by the values of the setting
#: ``zodb_async.engine``.
ENGINES = {
    "threads": _make_threads,
    "inline": _make_inline,
    "manual": _make_manual,
    "celery": _make_celery,
}
