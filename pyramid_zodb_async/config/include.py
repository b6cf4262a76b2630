"""What ``config.include("pyramid_zodb_async")`` does."""

from typing import Any

from pyramid.config import PHASE3_CONFIG
from pyramid.events import ApplicationCreated
from pyramid.tweens import EXCVIEW, MAIN

from ..interfaces import IScheduler
from ..settings import parse_settings
from ..web.jobs import Jobs, accepted, job_url
from ..web.routes import add_routes
from ..web.schedule import Schedule
from ..web.static_files import add_assets
from ..web.templates import job_progress, job_scripts
from .assembly import ENGINES, assemble
from .directives import add_job_engine, add_job_wrapper
from .startup import start_at_once

__all__ = ["includeme"]


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
    config.add_subscriber(start_at_once, ApplicationCreated)
    # after all that the application's configuration says
    config.action(
        IScheduler,
        assemble,
        args=(config.registry,),
        order=PHASE3_CONFIG + 10,
    )
