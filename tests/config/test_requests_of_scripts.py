"""Who is a server, and who only asks an application for a page."""

import pytest
import shop
from pyramid.config import Configurator
from pyramid.paster import bootstrap, get_app
from pyramid.request import Request
from pyramid.response import Response
from webtest import TestApp

from pyramid_zodb_async import IScheduler

INI = """\
[app:main]
use = call:test_requests_of_scripts:main
zodbconn.uri = file://{folder}/Data.fs
zodb_async.autostart = {autostart}
"""


def ask_itself(request):
    """Ask the application for another page of it."""
    return request.invoke_subrequest(
        Request.blank("/page", request.GET), use_tweens=True
    )


def main(global_config, **settings):
    with Configurator(settings=settings) as config:
        for include in shop.INCLUDES:
            config.include(include)
        config.add_route("page", "/page")
        config.add_view(lambda _request: Response("page"), route_name="page")
        config.add_route("itself", "/itself")
        config.add_view(ask_itself, route_name="itself")
        return config.make_wsgi_app()


@pytest.fixture(params=["false", "true"], ids=["", "autostart"])
def ini(request, tmp_path):
    path = tmp_path / "site.ini"
    path.write_text(INI.format(folder=tmp_path, autostart=request.param))
    return str(path)


@pytest.fixture
def env(ini):
    """What a script has."""
    with bootstrap(ini) as env:
        yield env
        shop.shut_down(env["registry"])


@pytest.fixture
def scheduler(env):
    return env["registry"].getUtility(IScheduler)


def ask(app, path="/page", **environ):
    """Ask for a page without a server."""
    assert Request.blank(path, environ).get_response(app).text == "page"


def test_an_application_that_a_script_has_made_does_not_start_with_it(
    scheduler,
):
    assert not scheduler.runs_jobs


@pytest.mark.parametrize("path", ["/page", "/itself"])
def test_a_page_that_a_script_asks_for_starts_nothing(env, scheduler, path):
    ask(env["app"], path)

    assert not scheduler.runs_jobs


@pytest.mark.parametrize(
    "marks", [{"wsgi.run_once": True}, {"paste.command_request": True}]
)
def test_a_request_that_is_marked_as_the_only_one_starts_nothing(
    env, scheduler, marks
):
    ask(env["app"], REMOTE_ADDR="127.0.0.1", **marks)
    assert not scheduler.runs_jobs
    ask(env["app"], REMOTE_ADDR="127.0.0.1")

    assert scheduler.runs_jobs


def test_a_test_of_the_application_is_like_a_server(env, scheduler):
    TestApp(env["app"]).get("/page")

    assert scheduler.runs_jobs


@pytest.mark.parametrize("path", ["/page", "/itself"])
def test_an_application_of_no_script_starts_with_any_request(ini, path):
    app = get_app(ini)
    scheduler = app.registry.getUtility(IScheduler)
    try:
        ask(app, "/page", **{"wsgi.run_once": True})
        assert scheduler.runs_jobs == (
            app.registry.settings["zodb_async.autostart"] == "true"
        )
        ask(app, path)

        assert scheduler.runs_jobs
    finally:
        shop.shut_down(app.registry)
