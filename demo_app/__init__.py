"""A text analyser: how an application uses pyramid_zodb_async.

``development.ini`` serves it. ``views.py`` schedules, cancels and retries,
``jobs.py`` is what runs in the background, ``templates/analysis.jinja2`` and
``static/live.js`` show how it goes.
"""

from pathlib import Path
from typing import Any

from pyramid.config import Configurator
from pyramid.router import Router

__all__ = ["main"]


def main(_global_config: dict[str, str], **settings: Any) -> Router:
    """Make the application, as ``development.ini`` describes it."""
    if folder := settings.get("text_analyser.folder"):
        Path(folder).mkdir(parents=True, exist_ok=True)
    with Configurator(settings=settings) as config:
        config.include("pyramid_jinja2")
        config.include("pyramid_tm")
        config.include("pyramid_retry")
        config.include("pyramid_zodbconn")
        config.include("pyramid_zodb_async")
        config.include(".login")
        config.include(".views")
        config.include(".experiments")
        config.include(".tokens")
        config.include(".errors")
        config.add_static_view("static", "demo_app:static")
        return config.make_wsgi_app()
