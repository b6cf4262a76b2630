"""Puts the parts together for a Pyramid application."""

from typing import Any

from pyramid.config import PHASE1_CONFIG
from pyramid.events import ApplicationCreated
from pyramid.exceptions import ConfigurationError
from pyramid.security import NO_PERMISSION_REQUIRED
from pyramid.tweens import EXCVIEW, MAIN

from .engine.inline import InlineEngine
from .engine.threads import ThreadEngine
from .environment import RequestEnvironment
from .exceptions import QueueFull
from .interfaces import IEngine, IScheduler
from .request import Jobs, Schedule, accepted, job_url
from .runner import Runner
from .scheduler.durable import PersistentTransactionalScheduler
from .scheduler.memory import MemoryScheduler
from .scheduler.place import RootPlace
from .scheduler.zodb import ZODBScheduler
from .settings import ISettings, Settings, parse_settings
from .status import ROUTE
from .tween import start_scheduler
from .views import JobResource, queue_full, refuse_method, show_job

__all__ = ["includeme"]


def includeme(config: Any) -> None:
    """Give a Pyramid application background jobs.

    ``config.include("pyramid_zodb_async")``

    - registers the scheduler as the registry's utility of
      :class:`~pyramid_zodb_async.interfaces.IScheduler`, and its engine as
      that of :class:`~pyramid_zodb_async.interfaces.IEngine`; nothing is
      started before the first job,
    - adds ``request.schedule()``, ``request.jobs``, ``request.job_url()``
      and ``request.accepted()``,
    - adds the resource ``/jobs/<sid>`` and the static files of the package
      below ``/jobs/static``; a ``route_prefix`` of the include goes before
      that, the setting ``zodb_async.route_prefix`` in place of ``jobs``.

    The application also includes ``pyramid_tm``, whose transactions commit
    the jobs; ``pyramid_zodbconn``, where the persistent objects are; and
    should include ``pyramid_retry``. Settings start with ``zodb_async.``.

    Raises:
        ConfigurationError: a setting is unknown, or its value is wrong.
    """
    prefix = parse_settings(config.registry.settings).route_prefix
    config.add_request_method(Schedule, "schedule", reify=True)
    config.add_request_method(Jobs, "jobs", reify=True)
    config.add_request_method(job_url)
    config.add_request_method(accepted)
    config.add_route(ROUTE, f"/{prefix}/{{sid}}", factory=JobResource)
    config.add_view(
        show_job,
        route_name=ROUTE,
        request_method="GET",
        permission=NO_PERMISSION_REQUIRED,
    )
    config.add_view(
        refuse_method, route_name=ROUTE, permission=NO_PERMISSION_REQUIRED
    )
    config.add_static_view(f"{prefix}/static", "pyramid_zodb_async:static")
    config.add_exception_view(queue_full, context=QueueFull)
    # over all others, so that their transactions find a store for jobs
    config.add_tween(
        "pyramid_zodb_async.tween.start_scheduler_factory",
        over=("pyramid_tm.tm_tween_factory", EXCVIEW, MAIN),
    )
    config.add_subscriber(_start_at_once, ApplicationCreated)
    # later settings of the application still count
    config.action(
        IScheduler, _register, args=(config.registry,), order=PHASE1_CONFIG
    )


def _start_at_once(event: Any) -> None:
    registry = event.app.registry
    if registry.getUtility(ISettings).autostart:
        start_scheduler(registry)


def _register(registry: Any) -> None:
    settings = parse_settings(registry.settings)
    scheduler = _make_scheduler(registry, settings)
    runner = Runner(
        scheduler,
        RequestEnvironment(registry),
        max_conflicts=settings.max_conflicts,
        public_errors=settings.public_errors,
    )
    engine = _make_engine(settings, runner)
    scheduler.use(engine)
    registry.registerUtility(settings, ISettings)
    registry.registerUtility(scheduler, IScheduler)
    registry.registerUtility(engine, IEngine)


def _make_scheduler(registry: Any, settings: Settings) -> Any:
    if settings.scheduler == "memory":
        return MemoryScheduler(
            settings.result_timeout, max_pending=settings.max_pending
        )
    return ZODBScheduler(
        RootPlace(
            lambda: _database(registry, settings.database),
            PersistentTransactionalScheduler,
            timeout=settings.result_timeout,
        ),
        timeout=settings.result_timeout,
        max_pending=settings.max_pending,
        attempts=settings.attempts,
        lease=settings.lease,
    )


def _database(registry: Any, name: str) -> Any:
    try:
        return registry._zodb_databases[name]  # noqa: SLF001 - get_connection
    except (AttributeError, KeyError):
        raise ConfigurationError(
            "The jobs are kept in the database, and pyramid_zodbconn is not"
            " included: config.include('pyramid_zodbconn')"
        ) from None


def _make_engine(settings: Settings, runner: Runner) -> Any:
    if settings.engine == "inline":
        return InlineEngine(runner.run)
    return ThreadEngine(
        runner.run, workers=settings.workers, grace=settings.grace
    )
