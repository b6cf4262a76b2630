"""The function that ``config.include("pyramid_zodb_async")`` calls."""

from typing import Any

from pyramid.config import PHASE3_CONFIG
from pyramid.events import ApplicationCreated
from pyramid.tweens import EXCVIEW, MAIN

from ..interfaces import IScheduler
from ..settings import parse_settings
from ..web.request_jobs import Jobs, accepted, job_url
from ..web.request_schedule import Schedule
from ..web.routes import add_routes
from ..web.static_files import add_assets
from ..web.templates import job_progress, job_scripts
from .assembly import ENGINES, assemble
from .directives import add_job_engine, add_job_wrapper
from .startup import start_at_once

__all__ = ["includeme"]


def includeme(config: Any) -> None:
    """Add background jobs to a Pyramid application.

    ``config.include("pyramid_zodb_async")``

    - registers the scheduler as the registry's utility of
      :class:`~pyramid_zodb_async.interfaces.IScheduler`, and its engine as
      that of :class:`~pyramid_zodb_async.interfaces.IEngine`,
    - starts the scheduler at the first request of a server, or with
      ``zodb_async.autostart`` when the application is made, but not in a
      script,
    - adds ``request.schedule()``, ``request.jobs``, ``request.job_url()``,
      ``request.accepted()``, ``request.job_progress()`` and
      ``request.job_scripts()``,
    - adds the resources ``/jobs/<sid>``, ``/jobs/<sid>/retry`` and ``/jobs``,
      and the static files of the package below ``/jobs/static``. A
      ``route_prefix`` of the include goes before ``/jobs``, and the setting
      ``zodb_async.route_prefix`` replaces ``jobs``,
    - lets GET requests for ``/jobs/<sid>`` and ``/jobs`` wait for a change if
      they have the header ``Prefer: wait=…``,
    - handles SIGTERM if ``zodb_async.stop_on_sigterm`` is set,
    - adds the directives ``config.add_job_engine()`` and
      ``config.add_job_wrapper()``,
    - sends the :mod:`~pyramid_zodb_async.events` of jobs to the application's
      subscribers.

    The application must also include ``pyramid_tm``, whose transactions
    commit the jobs, and ``pyramid_zodbconn`` if jobs are stored in the
    database or get persistent objects. It should include ``pyramid_retry``.
    The names of the settings start with ``zodb_async.``.

    Args:
        config: the application's configurator.

    Raises:
        ConfigurationError: a setting is unknown, or its value is wrong.
    """
    prefix = parse_settings(config.registry.settings).route_prefix
    for directive in (add_job_engine, add_job_wrapper):
        config.add_directive(directive.__name__, directive)
    for name, factory in ENGINES.items():
        config.add_job_engine(name, factory)
    config.add_request_method(Schedule, "schedule", reify=True)
    config.add_request_method(Jobs, "jobs", reify=True)
    config.add_request_method(job_url)
    config.add_request_method(accepted)
    config.add_request_method(job_progress)
    config.add_request_method(job_scripts)
    add_routes(config, prefix)
    add_assets(config, prefix)
    # Over all others: the start makes the store, and a transaction that began
    # before that would not see it.
    config.add_tween(
        "pyramid_zodb_async.tween.start_scheduler_factory",
        over=("pyramid_tm.tm_tween_factory", EXCVIEW, MAIN),
    )
    # over pyramid_tm, so that no transaction is open during a wait
    config.add_tween(
        "pyramid_zodb_async.prefer.wait_for_change_factory",
        under="pyramid_zodb_async.tween.start_scheduler_factory",
        over=("pyramid_tm.tm_tween_factory", EXCVIEW, MAIN),
    )
    config.add_subscriber(start_at_once, ApplicationCreated)
    # After the application's own configuration, which may add an engine or
    # change a setting.
    config.action(
        IScheduler,
        assemble,
        args=(config.registry,),
        order=PHASE3_CONFIG + 10,
    )
