"""What the answers of the job resource do with cookies."""

import pytest
import shop
from pyramid.authentication import (
    AuthTktCookieHelper,
    SessionAuthenticationHelper,
)
from pyramid.csrf import CookieCSRFStoragePolicy, SessionCSRFStoragePolicy
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import remember
from pyramid.session import SignedCookieSessionFactory
from shop import PATIENCE, sid_of, start

from pyramid_zodb_async.jobs.model import make_version
from pyramid_zodb_async.testing import drain

pytestmark = pytest.mark.kept_in("memory", "zodb")

#: A tag of a job that has ended.
STALE = f'"{make_version(0, done=True)}"'

#: A static file of the package.
SCRIPT = "/jobs/static/jobs.js"


class Login:
    """Knows its users by one of Pyramid's helpers."""

    def __init__(self, helper):
        self._helper = helper

    def authenticated_userid(self, request):
        if hasattr(self._helper, "identify"):
            return (self._helper.identify(request) or {}).get("userid")
        return self._helper.authenticated_userid(request)

    identity = authenticated_userid

    def permits(self, request, context, permission):
        return False

    def remember(self, request, userid, **kw):
        return self._helper.remember(request, userid, **kw)

    def forget(self, request, **kw):
        return self._helper.forget(request, **kw)


def log_in(request):
    return Response("in", headers=remember(request, "ann"))


def look(request):
    return Response(str(request.authenticated_userid))


VIEWS = {"/start": start, "/login": log_in, "/look": look}

#: Sessions that set their cookie with each answer. By default, they do so if
#: the last time was in another second.
SESSIONS = SignedCookieSessionFactory("secret", reissue_time=-1)

#: Pyramid's ways to know a user, each setting its cookie as often as it can.
LOGINS = {
    "session": SessionAuthenticationHelper,
    "ticket": lambda: AuthTktCookieHelper("secret", reissue_time=-1),
}


@pytest.fixture(params=LOGINS)
def login(request):
    """Give what configures a way of logging in."""

    def configure(config):
        config.set_session_factory(SESSIONS)
        config.set_security_policy(Login(LOGINS[request.param]()))

    return configure


@pytest.fixture
def make_known(make_app, login):
    """Make an application in which ann is logged in."""

    def make(configure=None, **settings):
        def configure_all(config):
            login(config)
            if configure:
                configure(config)

        app = make_app(VIEWS, configure=configure_all, **settings)
        app.get("/login")
        return app

    return make


def cookies_in(answer):
    """Give the names of the cookies that an answer sets."""
    return [
        text.partition("=")[0] for text in answer.headers.getall("Set-Cookie")
    ]


def test_other_answers_set_the_cookie_of_the_login(make_known):
    """Else the tests below would tell nothing."""
    app = make_known()

    assert cookies_in(app.get("/look"))
    assert cookies_in(app.post("/start", {"function": "nothing"}))


def test_no_answer_about_a_job_sets_the_cookie_of_the_login(make_known, gate):
    app = make_known()
    running = shop.begin(app, "wait_at", "gate")
    gate.wait_for_job()
    etag = app.get(running).headers["ETag"]
    answers = [
        app.get(running),
        app.head(running),
        app.options(running),
        app.put(running, status=405),
        app.get(running, headers={"If-None-Match": etag}, status=304),
        app.get(f"/jobs?sid={sid_of(running)}"),
        app.get("/jobs", status=400),
        app.get("/jobs/unknown", status=404),
        app.post(f"{running}/retry", status=409),
        app.delete(running, headers={"If-Match": STALE}, status=412),
        app.delete(running, status=202),
    ]
    gate.open()
    failed = shop.begin(app, "explain")
    drain(app)
    answers += [
        app.post(f"{failed}/retry", status=202),
        app.delete(running, status=204),
    ]

    assert [cookies_in(answer) for answer in answers] == [[]] * len(answers)


def test_an_answer_that_was_held_sets_no_cookie(make_known, gate):
    app = make_known(zodb_async__max_wait=PATIENCE)
    path = shop.begin(app, "wait_at", "gate")
    gate.wait_for_job()
    waiters = shop.scheduler_of(app).waiters
    headers = {"Prefer": f"wait={PATIENCE}"}
    answer = shop.Answer(app.get, path, headers=headers)
    shop.wait_until(lambda: shop.waiting(waiters))
    gate.open()

    assert answer.get().json["done"]
    assert cookies_in(answer.get()) == []


def ask_who(config):
    """Have each request of an application ask who its user is, outside."""
    config.add_tween(
        "test_cookies.ask_who_factory",
        over="pyramid_zodb_async.tween.start_scheduler_factory",
    )


def ask_who_factory(handler, registry):
    def ask_who_tween(request):
        answer = handler(request)
        answer.headers["X-Asked"] = str(request.authenticated_userid)
        return answer

    return ask_who_tween


@pytest.mark.parametrize("preference", ["", "wait=1"])
def test_nor_does_one_whose_user_a_tween_outside_asks_for(
    make_known, preference
):
    app = make_known(ask_who)
    path = shop.begin(app, "give", "result")
    drain(app)
    for asked in (path, "/jobs/unknown"):
        headers = {"Prefer": preference}
        answer = app.get(asked, headers=headers, status="*")
        assert answer.headers["X-Asked"] == "ann"
        assert cookies_in(answer) == []


def test_nor_does_one_about_what_is_no_text(make_known):
    app = make_known(ask_who)
    # WebTest cannot send its cookies there
    request = Request.blank("/jobs/%ff")
    request.cookies.update(app.cookies)
    answer = request.get_response(app.app)

    assert answer.status_int == 404
    assert answer.headers["X-Asked"] == "ann"
    assert cookies_in(answer) == []


def test_no_static_file_sets_a_cookie_which_caches_would_keep(make_known):
    app = make_known(ask_who)
    answer = app.get(SCRIPT)

    assert answer.headers["X-Asked"] == "ann"
    assert cookies_in(answer) == []


@pytest.mark.parametrize(
    "policy", [CookieCSRFStoragePolicy, SessionCSRFStoragePolicy]
)
def test_a_refusal_for_want_of_a_token_makes_no_token(make_app, policy):
    def configure(config):
        config.set_session_factory(SignedCookieSessionFactory("secret"))
        config.set_csrf_storage_policy(policy())
        config.set_default_csrf_options(require_csrf=True)

    app = make_app(configure=configure)
    for answer in (
        app.delete("/jobs/unknown", status=400),
        app.post("/jobs/unknown/retry", status=400),
    ):
        assert "CSRF" in answer.json["detail"]
        assert cookies_in(answer) == []


def test_a_token_is_checked_as_before(make_app):
    def show_token(request):
        return Response(SessionCSRFStoragePolicy().get_csrf_token(request))

    def configure(config):
        config.set_session_factory(SignedCookieSessionFactory("secret"))
        config.set_csrf_storage_policy(SessionCSRFStoragePolicy())
        config.add_route("token", "/token")
        config.add_view(show_token, route_name="token")
        config.set_default_csrf_options(require_csrf=True)

    app = make_app(VIEWS, configure=configure)
    headers = {"X-CSRF-Token": app.get("/token").text}
    path = shop.begin(app, "explain", headers=headers)
    drain(app)
    app.post(f"{path}/retry", status=400)
    app.post(f"{path}/retry", headers=headers, status=202)
    drain(app)
    app.delete(path, headers=headers, status=204)


def count_visits(config):
    config.add_tween("test_cookies.count_visits_factory")
    config.add_tween(
        "test_cookies.count_visits_factory_below",
        under="pyramid_tm.tm_tween_factory",
    )


def count_visits_factory(handler, registry, name="visits"):
    def count_visits_tween(request):
        answer = handler(request)
        answer.set_cookie(name, "9")
        request.add_response_callback(secure)
        return answer

    return count_visits_tween


def count_visits_factory_below(handler, registry):
    return count_visits_factory(handler, registry, "looks")


def secure(request, answer):
    """Have cookies sent by HTTPS only, whoever sets them."""
    texts = answer.headers.getall("Set-Cookie")
    del answer.headers["Set-Cookie"]
    for text in texts:
        answer.headers.add("Set-Cookie", f"{text}; secure")


@pytest.mark.parametrize("preference", ["", "wait=1"])
def test_the_cookies_of_an_applications_own_tweens_are_left(
    make_known, preference
):
    app = make_known(count_visits)
    path = shop.begin(app, "give", "result")
    drain(app)
    answer = app.get(path, headers={"Prefer": preference})

    assert set(cookies_in(answer)) == {"looks", "visits"}
    for text in answer.headers.getall("Set-Cookie"):
        assert text.endswith("; secure")


def test_a_callback_that_adds_callbacks_sets_no_cookie_by_them(make_app):
    def add_more(request, answer):
        request.add_response_callback(
            lambda request, answer: answer.set_cookie("late", "1")
        )
        answer.headers["X-Called"] = "yes"

    def configure(config):
        config.add_subscriber(
            lambda event: event.request.add_response_callback(add_more),
            "pyramid.events.NewRequest",
        )

    answer = make_app(configure=configure).get("/jobs/unknown", status=404)

    assert answer.headers["X-Called"] == "yes"
    assert cookies_in(answer) == []
