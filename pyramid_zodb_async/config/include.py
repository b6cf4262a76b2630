"""Puts the parts together for a Pyramid application."""

import importlib
from collections.abc import Callable
from typing import Any

from pyramid.config import PHASE3_CONFIG
from pyramid.events import ApplicationCreated
from pyramid.exceptions import (
    BadCSRFOrigin,
    BadCSRFToken,
    ConfigurationError,
    URLDecodeError,
)
from pyramid.security import NO_PERMISSION_REQUIRED
from pyramid.tweens import EXCVIEW, MAIN
from pyramid.viewderivers import INGRESS

from ..database.storages import is_for_one_process
from ..engine.fault_injection import IInterventions, Interventions
from ..engine.inline import InlineEngine
from ..engine.manual import ManualEngine
from ..engine.threads import ThreadEngine
from ..exceptions import QueueFull
from ..execution.announcer import RegistryAnnouncer
from ..execution.request_surroundings import RequestEnvironment
from ..execution.runner import Runner
from ..interfaces import (
    IEngine,
    IEngineFactory,
    IRemoteEngine,
    IScheduler,
)
from ..scheduler.durable import PersistentTransactionalScheduler
from ..scheduler.memory import MemoryScheduler
from ..scheduler.store.location import RootPlace
from ..scheduler.zodb import ZODBScheduler
from ..settings import ISettings, Settings, parse_settings
from ..web.jobs import Jobs, Schedule, accepted, job_url
from ..web.malformed_requests import refuse_malformed
from ..web.poll_pacing import IPace, Pace
from ..web.static_files import add_assets
from ..web.status_document import COLLECTION_ROUTE, RETRY_ROUTE, ROUTE
from ..web.templates import job_progress, job_scripts
from ..web.views import (
    JobResource,
    JobsResource,
    RetryResource,
    bad_csrf,
    delete_job,
    no_such_job,
    options,
    queue_full,
    refuse_method,
    retry_job,
    show_job,
    show_jobs,
)
from .directives import add_job_engine, add_job_wrapper
from .sigterm import stop_on_sigterm
from .startup import start_scheduler

__all__ = ["includeme", "register"]


def includeme(config: Any) -> None:
    """Give a Pyramid application background jobs.

    ``config.include("pyramid_zodb_async")``

    - registers the scheduler as the registry's utility of
      :class:`~pyramid_zodb_async.interfaces.IScheduler`, and its engine as
      that of :class:`~pyramid_zodb_async.interfaces.IEngine`; nothing is
      started before the first job,
    - adds ``request.schedule()``, ``request.jobs``, ``request.job_url()``,
      ``request.accepted()``, ``request.job_progress()`` and
      ``request.job_scripts()``,
    - adds the resources ``/jobs/<sid>`` and ``/jobs``, and the static files
      of the package below ``/jobs/static``; a ``route_prefix`` of the include
      goes before that, the setting ``zodb_async.route_prefix`` in place of
      ``jobs``,
    - adds the directives ``config.add_job_engine()`` and
      ``config.add_job_wrapper()``,
    - tells the application's subscribers of the
      :mod:`~pyramid_zodb_async.events` of jobs.

    The application also includes ``pyramid_tm``, whose transactions commit
    the jobs; ``pyramid_zodbconn``, where the persistent objects are; and
    should include ``pyramid_retry``. Settings start with ``zodb_async.``.

    Raises:
        ConfigurationError: a setting is unknown, or its value is wrong.
    """
    prefix = parse_settings(config.registry.settings).route_prefix
    for directive in (add_job_engine, add_job_wrapper):
        config.add_directive(directive.__name__, directive)
    config.add_job_engine("threads", _make_threads)
    config.add_job_engine("inline", _make_inline)
    config.add_job_engine("manual", _make_manual)
    config.add_job_engine("celery", _make_celery)
    config.add_request_method(Schedule, "schedule", reify=True)
    config.add_request_method(Jobs, "jobs", reify=True)
    config.add_request_method(job_url)
    config.add_request_method(accepted)
    config.add_request_method(job_progress)
    config.add_request_method(job_scripts)
    _add_resource(config, prefix)
    add_assets(config, prefix)
    config.add_exception_view(queue_full, context=QueueFull)
    # over all others, so that their transactions find a store for jobs
    config.add_tween(
        "pyramid_zodb_async.tween.start_scheduler_factory",
        over=("pyramid_tm.tm_tween_factory", EXCVIEW, MAIN),
    )
    config.add_tween(
        "pyramid_zodb_async.prefer.wait_for_change_factory",
        under="pyramid_zodb_async.tween.start_scheduler_factory",
        over=("pyramid_tm.tm_tween_factory", EXCVIEW, MAIN),
    )
    config.add_subscriber(_start_at_once, ApplicationCreated)
    # after all that the application's configuration says
    config.action(
        IScheduler,
        register,
        args=(config.registry,),
        order=PHASE3_CONFIG + 10,
    )


def _add_resource(config: Any, prefix: str) -> None:
    config.add_route(COLLECTION_ROUTE, f"/{prefix}", factory=JobsResource)
    config.add_route(ROUTE, f"/{prefix}/{{sid}}", factory=JobResource)
    config.add_route(
        RETRY_ROUTE, f"/{prefix}/{{sid}}/retry", factory=RetryResource
    )
    views: list[tuple[str, str | None, Any]] = [
        (COLLECTION_ROUTE, "GET", show_jobs),
        (ROUTE, "GET", show_job),
        (ROUTE, "DELETE", delete_job),
        (RETRY_ROUTE, "POST", retry_job),
    ]
    for route in (COLLECTION_ROUTE, ROUTE, RETRY_ROUTE):
        views += [(route, "OPTIONS", options), (route, None, refuse_method)]
    config.add_view_deriver(refuse_malformed, over="csrf_view", under=INGRESS)
    for route, method, view in views:
        config.add_view(
            view,
            route_name=route,
            request_method=method,
            permission=NO_PERMISSION_REQUIRED,
            # a method that there is none of needs no token to be told so
            require_csrf=False if view is refuse_method else None,
            refuse_malformed=view in {delete_job, retry_job},
        )
    for route in (ROUTE, RETRY_ROUTE):
        for error in (BadCSRFOrigin, BadCSRFToken):
            config.add_exception_view(
                bad_csrf, context=error, route_name=route
            )
    # Pyramid finds no route for what is no UTF-8
    config.add_view_predicate("zodb_async_below", _Below)
    path = "/".join(filter(None, [config.route_prefix, prefix]))
    config.add_exception_view(
        no_such_job, context=URLDecodeError, zodb_async_below=f"/{path}/"
    )


class _Below:
    """A view predicate: the path, as its bytes are, begins with this one."""

    def __init__(self, path: str, info: Any) -> None:
        self._path = path

    def text(self) -> str:
        return f"zodb_async_below = {self._path}"

    phash = text

    def __call__(self, context: Any, request: Any) -> bool:
        path: str = request.environ.get("PATH_INFO", "")
        return path.startswith(self._path)


def _start_at_once(event: Any) -> None:
    registry = event.app.registry
    settings = registry.getUtility(ISettings)
    engine = registry.getUtility(IEngine)
    if IRemoteEngine.providedBy(engine):
        _require_shared(_database(registry, settings.database))
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


def register(registry: Any) -> None:
    """Make the scheduler, the engine and what belongs to them, anew."""
    settings = parse_settings(registry.settings)
    scheduler = _make_scheduler(registry, settings)
    directed: Any = scheduler
    if settings.engine == "manual":
        directed = Interventions(scheduler)
        registry.registerUtility(directed, IInterventions)
    runner = Runner(
        directed,
        RequestEnvironment(registry),
        max_conflicts=settings.max_conflicts,
        attempts=settings.attempts,
        time_limit=settings.time_limit,
        public_errors=settings.public_errors,
        # who waits for the job would wait for that as well
        is_patient=settings.engine != "inline",
    )
    engine = _make_engine(registry, settings, runner)
    scheduler.announcer = RegistryAnnouncer(registry)
    scheduler.use(engine)
    registry.registerUtility(settings, ISettings)
    registry.registerUtility(scheduler, IScheduler)
    registry.registerUtility(engine, IEngine)
    registry.registerUtility(Pace(engine.workers), IPace)


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


def _make_engine(registry: Any, settings: Settings, runner: Runner) -> Any:
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
        module = importlib.import_module("..engine.celery", __package__)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "The setting 'zodb_async.engine' is 'celery', and the package"
            f" {error.name} is not installed: pip install"
            " 'pyramid_zodb_async[celery]'"
        ) from error
    return module.make_engine(run, settings)
