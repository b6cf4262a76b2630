"""Makes the applications of a few lines that servers and scripts load."""

from pyramid.config import Configurator


def make_site(settings, **views):
    """Make an application of views, which have the paths of their names."""
    with Configurator(settings=settings) as config:
        for include in ("retry", "tm", "zodbconn", "zodb_async"):
            config.include(f"pyramid_{include}")
        for name, view in views.items():
            config.add_route(name, f"/{name}")
            config.add_view(view, route_name=name, renderer="json")
        return config.make_wsgi_app()
