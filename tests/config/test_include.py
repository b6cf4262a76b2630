"""How the package becomes part of an application."""

import threading

import pytest
import shop
from pyramid.config import Configurator
from pyramid.response import Response
from webtest import TestApp

from pyramid_zodb_async import IEngine, IScheduler
from pyramid_zodb_async.database.application import databases_of
from pyramid_zodb_async.engine.inline import InlineEngine
from pyramid_zodb_async.engine.threads import ThreadEngine
from pyramid_zodb_async.settings import ISettings
from pyramid_zodb_async.web.static_files import VERSION


@pytest.mark.parametrize(
    ("name", "kind"), [("threads", ThreadEngine), ("inline", InlineEngine)]
)
def test_scheduler_and_engine_are_utilities(make_app, name, kind):
    registry = make_app(zodb_async__engine=name).app.registry

    assert registry.getUtility(IScheduler).get("unknown") is None
    assert isinstance(registry.getUtility(IEngine), kind)


def test_settings_reach_the_parts(make_app):
    registry = make_app(
        zodb_async__workers="3",
        zodb_async__grace="4",
        zodb_async__max_pending="5",
        zodb_async__max_bulk="50",
        zodb_async__result_timeout="6",
    ).app.registry

    assert registry.getUtility(IEngine).workers == 3
    assert registry.getUtility(IEngine).grace == 4
    assert registry.getUtility(IScheduler).max_pending == 5
    assert registry.getUtility(IScheduler).max_bulk == 50
    assert registry.getUtility(IScheduler).timeout == 6


def test_the_application_may_change_settings_after_the_include():
    with Configurator() as config:
        config.include("pyramid_zodb_async")
        config.registry.settings["zodb_async.workers"] = "7"

    assert config.registry.getUtility(ISettings).workers == 7


def test_nothing_is_started_or_opened_by_the_include(make_app):
    before = threading.enumerate()
    app = make_app()

    assert threading.enumerate() == before
    db = databases_of(app.app.registry)[""]
    assert db.getActivityMonitor().log == []


def schedule(request):
    return request.accepted(request.schedule(shop.give, 1))


@pytest.mark.parametrize(
    ("prefix", "settings", "path"),
    [
        (None, {}, "/jobs"),
        ("/api/", {}, "/api/jobs"),
        (None, {"zodb_async.route_prefix": "background"}, "/background"),
        ("api", {"zodb_async.route_prefix": "v1/work"}, "/api/v1/work"),
    ],
)
def test_the_resource_can_be_moved(prefix, settings, path):
    settings = {"zodb_async.engine": "inline"} | settings
    with Configurator(settings=settings) as config:
        config.include("pyramid_tm")
        config.include("pyramid_zodb_async", route_prefix=prefix)
        config.add_route("view", "/view")
        config.add_view(schedule, route_name="view")
        config.add_route("static", "/static-url")
        config.add_view(static_url, route_name="static")
    app = TestApp(config.make_wsgi_app())
    location = app.get("/view").headers["Location"]

    assert location.startswith(f"{path}/")
    assert app.get(location).json["result"] == 1
    module = app.get("/static-url").text
    assert module == f"http://localhost{path}/static/{VERSION}/jobs.js"
    assert "javascript" in app.get(module).content_type


def static_url(request):
    return Response(request.static_url("pyramid_zodb_async:static/jobs.js"))


def test_two_applications_in_a_process_keep_their_jobs_apart(make_app):
    one = make_app({"/view": schedule})
    two = make_app({"/view": schedule})
    sid = one.get("/view").json["sid"]

    one.get(f"/jobs/{sid}", status=200)
    two.get(f"/jobs/{sid}", status=404)
