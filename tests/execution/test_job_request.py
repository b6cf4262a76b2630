"""A job has the request of the application, without its session."""

import pytest
import shop
from pyramid.authentication import SessionAuthenticationHelper
from pyramid.authorization import ACLHelper, Allow, Everyone
from pyramid.config import Configurator
from pyramid.csrf import get_csrf_token
from pyramid.request import Request
from pyramid.session import SignedCookieSessionFactory
from pyramid.threadlocal import get_current_request

from pyramid_zodb_async.testing import drain, wait_for

pytestmark = pytest.mark.kept_in("memory", "zodb")


class SessionPolicy:
    """Believes the session."""

    def __init__(self):
        self.helper = SessionAuthenticationHelper()

    def identity(self, request):
        return self.helper.authenticated_userid(request)

    authenticated_userid = identity

    def permits(self, request, context, permission):
        principals = [Everyone, self.identity(request)]
        return ACLHelper().permits(context, principals, permission)


class Root:
    """A root where everybody may look."""

    __acl__ = ((Allow, Everyone, "look"),)

    def __init__(self, request):
        """Do nothing."""


@pytest.fixture
def run(make_app):
    """Run a job of an application with sessions; tell how it ended."""

    def run(function, *args, configure=None):
        def view(request):
            request.session["cart"] = ["Emma"]
            return request.accepted(request.schedule(function, *args))

        def with_sessions(config):
            config.set_session_factory(SignedCookieSessionFactory("secret"))
            config.set_security_policy(SessionPolicy())
            if configure:
                configure(config)

        app = make_app({"/view": view}, root=Root, configure=with_sessions)
        sid = app.get("/view").json["sid"]
        drain(app)
        return wait_for(app, sid)

    return run


def use_session(how):
    """Ask for the session."""
    request = get_current_request()
    if how == "read":
        return request.session["cart"]
    if how == "write":
        request.session["cart"] = []
    elif how == "flash":
        request.session.flash("done")
    elif how == "token":
        return get_csrf_token(request)
    return None


@pytest.mark.parametrize("how", ["read", "write", "flash", "token"])
def test_a_job_that_uses_the_session_is_told_what_to_do(run, how):
    failure = run(use_session, how).failure

    assert failure.type == "RuntimeError"
    assert failure.message.startswith("A job has no session")
    assert "Pass what the job needs of it as arguments" in failure.message
    assert not failure.public


def ask_policy():
    """Ask the security policy, which asks the session."""
    request = get_current_request()
    return [
        request.authenticated_userid,
        request.identity,
        bool(request.has_permission("look", request.context)),
        bool(request.has_permission("touch", request.context)),
    ]


def test_a_policy_that_asks_the_session_finds_nobody(run):
    assert run(ask_policy).result == [None, None, True, False]


def ask_principals():
    """Ask as applications of Pyramid 1 do."""
    request = get_current_request()
    return request.unauthenticated_userid, request.effective_principals


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_principals_are_those_of_nobody(run):
    assert run(ask_principals).result == (None, [Everyone])


def ask_policy_and_session():
    """Use the session after the policy has."""
    assert get_current_request().authenticated_userid is None
    return get_current_request().session


def test_the_session_of_the_policy_is_not_that_of_the_job(run):
    assert run(ask_policy_and_session).failure.type == "RuntimeError"


def use_a_stand_in():
    """Have a session of one's own."""
    request = get_current_request()
    request.session = {"language": "de"}
    request.session["seen"] = True
    return request.session


def test_a_job_may_set_a_session_of_its_own(run):
    assert run(use_a_stand_in).result == {"language": "de", "seen": True}


class OwnRequest(Request):
    """A request of the application."""


def describe_request():
    """Tell of what class the request is."""
    request = get_current_request()
    kind = type(request)
    return kind.__module__, kind.__qualname__, isinstance(request, OwnRequest)


def test_the_request_is_of_the_applications_class(run):
    view = run(
        describe_request,
        configure=lambda config: config.set_request_factory(OwnRequest),
    )

    assert view.result == (__name__, "OwnRequest", True)


def look_for_session():
    """Tell whether there is a session."""
    return hasattr(get_current_request(), "session")


def test_without_sessions_a_job_finds_none_as_a_view_does(make_app):
    app = make_app(
        {
            "/view": lambda request: request.accepted(
                request.schedule(look_for_session)
            )
        }
    )

    assert wait_for(app, app.get("/view").json["sid"]).result is False
    assert shop.effects(app) == []


def look_at_extensions():
    """Tell what the application adds to the request, and of its class."""
    request = get_current_request()
    seen = request.drawn, request.drawn, request.path_twice()
    return (*seen, getattr(request, "later", None), id(type(request)))


def test_each_request_has_the_extensions_that_there_are_then(make_app):
    numbers = iter(range(10))

    def configure(config):
        config.add_request_method(
            lambda _request: next(numbers), "drawn", reify=True
        )
        config.add_request_method(
            lambda request: 2 * request.path, "path_twice"
        )

    def view(request):
        return request.accepted(request.schedule(look_at_extensions))

    app = make_app({"/view": view}, configure=configure)

    def run():
        sid = app.get("/view").json["sid"]
        drain(app)
        return sid, wait_for(app, sid).result

    first, second = run(), run()
    config = Configurator(registry=app.app.registry)
    config.add_request_method(lambda _request: "here", "later", property=True)
    config.commit()
    third = run()

    found = [result[:4] for _, result in (first, second, third)]
    assert found == [
        (number, number, 2 * f"/jobs/{sid}", later)
        for number, (sid, _), later in zip(
            range(3), (first, second, third), (None, None, "here"), strict=True
        )
    ]
    classes = [result[4] for _, result in (first, second, third)]
    assert classes[0] == classes[1] != classes[2]
