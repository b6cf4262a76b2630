"""An application whose jobs go on when a test says so.

waitress calls :func:`make_app`. ``CLIENT_FOLDER`` is where its database and
its gates are to be, ``CLIENT_SETTINGS`` has further settings as JSON.
"""

import json
import os
import pathlib
import time

from pyramid.authentication import (
    AuthTktCookieHelper,
    SessionAuthenticationHelper,
)
from pyramid.config import Configurator
from pyramid.csrf import CookieCSRFStoragePolicy
from pyramid.httpexceptions import HTTPFound, HTTPUnauthorized
from pyramid.response import Response
from pyramid.security import forget, remember
from pyramid.session import SignedCookieSessionFactory

from pyramid_zodb_async import JobError, current_job

FOLDER = pathlib.Path(os.environ.get("CLIENT_FOLDER", ""))

PAGE = """<!doctype html>
<html lang="en">
<meta name="viewport" content="width=device-width">
<title>A job</title>
<link rel="stylesheet" href="/style.css">
{scripts}
<main><h1>A job</h1>{elements}</main>
"""

STYLE = ":root { color-scheme: light dark; font-family: sans-serif }"


def is_open(gate):
    """Tell whether a test has opened a gate, once and for all."""
    return (FOLDER / gate).exists()


def wait_at(gate):
    while not is_open(gate):
        current_job().check()
        time.sleep(0.005)  # paces the loop; the gate decides


def add(value):
    """Be done at once."""
    return value + 1


def walk(gate, total):
    """Take a step for each gate that opens, and give their number."""
    for step in range(1, total + 1):
        wait_at(f"{gate}{step}")
        current_job().progress(step, total, f"Step {step}")
    wait_at(f"{gate}end")
    return total


def wander(gate):
    """Do the same without a knowledge of how far it is."""
    wait_at(f"{gate}1")
    current_job().progress(1)
    wait_at(f"{gate}end")


def stand(gate, done, total):
    """Be so far until the gate opens."""
    current_job().progress(done, total)
    wait_at(gate)


def fail(gate):
    """Fail until the gate is open."""
    if not is_open(gate):
        raise JobError("The gate is shut.")
    return "open"


def break_down():
    raise KeyError("a secret")


def give_nothing_to_show():
    return object


def fill(megabytes):
    """Give a large result."""
    return "x" * (megabytes * 2**20)


def nap(seconds):
    """Give the moment of the end, by the clock of the machine."""
    time.sleep(seconds)
    return time.time()


JOBS = {
    job.__name__: job
    for job in (
        add,
        break_down,
        fail,
        fill,
        give_nothing_to_show,
        nap,
        stand,
        walk,
        wander,
    )
}


def start(request):
    """Schedule the job that is asked for, with the arguments of the body."""
    job = JOBS[request.matchdict["kind"]]
    delay = float(request.GET.get("delay", 0))
    schedule = request.schedule.with_options(delay=delay)
    return request.accepted(schedule(job, *request.json_body))


def open_gate(request):
    (FOLDER / request.matchdict["gate"]).touch()
    return Response(status=204)


def page(request):
    """Show jobs: ?sid=…&sid=…&label=…, with further attributes."""
    attributes = {
        name: value or True
        for name, value in request.GET.items()
        if name not in {"sid", "bare"}
    }
    elements = "".join(
        request.job_progress(sid, **attributes)
        for sid in request.GET.getall("sid")
    )
    scripts = "" if "bare" in request.GET else request.job_scripts()
    response = Response(PAGE.format(scripts=scripts, elements=elements))
    # the strictest that the element has to get along with
    response.headers["Content-Security-Policy"] = (
        "default-src 'self'; require-trusted-types-for 'script'"
    )
    return response


def style(request):
    return Response(STYLE, content_type="text/css")


class SessionLogin:
    """Knows users by Pyramid's session, as its documentation shows it."""

    def __init__(self):
        self._helper = SessionAuthenticationHelper()

    def authenticated_userid(self, request):
        return self._helper.authenticated_userid(request)

    identity = authenticated_userid

    def permits(self, request, context, permission):
        return True

    def remember(self, request, userid, **kw):
        return self._helper.remember(request, userid, **kw)

    def forget(self, request, **kw):
        return self._helper.forget(request, **kw)


class TicketLogin(SessionLogin):
    """Knows users by a ticket that is renewed with each answer."""

    def __init__(self):
        self._helper = AuthTktCookieHelper(
            "secret", timeout=600, reissue_time=0
        )

    def authenticated_userid(self, request):
        return (self._helper.identify(request) or {}).get("userid")

    identity = authenticated_userid


class TokenLogin(SessionLogin):
    """Knows users by a token such as ``ann-1``."""

    def authenticated_userid(self, request):
        return token_of(request).partition("-")[0] or None

    identity = authenticated_userid


def token_of(request):
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token if scheme == "Bearer" else ""


def refuse_ended_tokens(handler, registry):
    """Answer 401 to a token whose gate a test has opened."""

    def tween(request):
        token = token_of(request)
        if token and is_open(token):
            return HTTPUnauthorized("This token has ended.")
        return handler(request)

    return tween


def send_to_login(handler, registry):
    """Lead those without a cookie to another origin, as gateways do."""

    def tween(request):
        if "gateway" in request.cookies or request.path.startswith("/open"):
            return handler(request)
        return HTTPFound(f"http://localhost:{request.host_port}/style.css")

    return tween


LOGINS = {
    "session": SessionLogin,
    "ticket": TicketLogin,
    "token": TokenLogin,
}


def add_login(config, kind):
    """Add what logs a user in and out, and tells who it is."""
    config.set_session_factory(SignedCookieSessionFactory("secret"))
    config.set_security_policy(LOGINS[kind]())
    config.add_tween("client_app.refuse_ended_tokens")
    for name, view in (
        ("login", lambda request: Response(headers=remember(request, "ann"))),
        ("logout", lambda request: Response(headers=forget(request))),
        ("who", lambda request: Response(str(request.authenticated_userid))),
    ):
        config.add_route(name, f"/{name}")
        config.add_view(view, route_name=name)


def make_app():
    settings = {
        "zodbconn.uri": f"file://{FOLDER}/Data.fs?connection_pool_size=20",
        "tm.commit_veto": "pyramid_tm.default_commit_veto",
        "zodb_async.workers": "8",
        "zodb_async.autostart": "true",
    } | json.loads(os.environ.get("CLIENT_SETTINGS", "{}"))
    with Configurator(settings=settings) as config:
        for name in ("retry", "tm", "zodbconn"):
            config.include(f"pyramid_{name}")
        prefix = settings.pop("route_prefix", None)
        config.include("pyramid_zodb_async", route_prefix=prefix)
        if "csrf" in settings:
            config.set_csrf_storage_policy(CookieCSRFStoragePolicy())
            config.set_default_csrf_options(header=settings["csrf"])
        if "gateway" in settings:
            config.add_tween("client_app.send_to_login")
        if "login" in settings:
            add_login(config, settings["login"])
        for name, pattern, view in (
            ("start", "/start/{kind}", start),
            ("open", "/open/{gate}", open_gate),
            ("page", "/page", page),
            ("style", "/style.css", style),
        ):
            config.add_route(name, pattern)
            config.add_view(view, route_name=name, require_csrf=False)
        return config.make_wsgi_app()
