"""Promise 7: a job is its owner's, and an error does not tell too much."""

import pytest
import shop
import transaction
from pyramid.response import Response
from users import Root, as_user
from ZODB.POSException import ConflictError

from pyramid_zodb_async import IScheduler
from pyramid_zodb_async.database.application import databases_of
from pyramid_zodb_async.database.connections import ThreadConnections
from pyramid_zodb_async.testing import drain, wait_for

pytestmark = pytest.mark.kept_in("memory", "zodb")


def start(request):
    return request.accepted(request.schedule(shop.give, "outcome"))


def fetch(request):
    return Response(repr(request.jobs.get_result(request.params["sid"])))


def remove(request):
    request.jobs.remove(request.params["sid"])
    return Response("removed")


def secure(config):
    config.set_security_policy(shop.HeaderPolicy())
    config.set_default_permission("nobody has it")


VIEWS = {"/start": start, "/fetch": fetch, "/remove": remove}


@pytest.fixture
def app(make_app, manager):
    """Give an application with users, all of whose views are protected."""

    def configure(config):
        config.set_security_policy(shop.HeaderPolicy())

    app = make_app(
        VIEWS,
        configure=configure,
        root=Root,
        **manager,
        zodb_async__permission="see jobs",
    )
    Root.made = 0
    return app


def test_the_owner_sees_the_job(app):
    sid = app.get("/start", headers=as_user("ann")).json["sid"]
    view = wait_for(app, sid)
    document = app.get(f"/jobs/{sid}", headers=as_user("ann")).json

    assert view.owner == "ann"
    assert document["result"] == "outcome"


@pytest.mark.parametrize("asker", [{}, as_user("bob"), as_user("")])
def test_for_others_the_job_does_not_exist(app, asker):
    sid = app.get("/start", headers=as_user("ann")).json["sid"]
    drain(app)
    answer = app.get(f"/jobs/{sid}", headers=asker, status=404)
    unknown = app.get("/jobs/unknown", headers=asker, status=404)

    assert answer.body == unknown.body
    assert answer.headers == unknown.headers


def test_who_has_the_permission_sees_the_job(app):
    sid = app.get("/start", headers=as_user("ann")).json["sid"]
    drain(app)

    app.get(f"/jobs/{sid}", headers=as_user("operator"), status=200)


def test_without_a_permission_set_only_the_owner_sees_the_job(make_app):
    def configure(config):
        config.set_security_policy(shop.HeaderPolicy())

    app = make_app(VIEWS, configure=configure, root=Root)
    sid = app.get("/start", headers=as_user("ann")).json["sid"]
    drain(app)

    app.get(f"/jobs/{sid}", headers=as_user("operator"), status=404)
    app.get(f"/jobs/{sid}", headers=as_user("root"), status=404)


def test_an_anonymous_job_is_open_to_who_has_its_sid(app):
    sid = app.get("/start").json["sid"]
    drain(app)

    app.get(f"/jobs/{sid}", status=200)
    app.get(f"/jobs/{sid}", headers=as_user("bob"), status=200)


def test_a_sid_cannot_be_guessed(app, kept_in):
    sids = {app.get("/start").json["sid"] for _ in range(50)}
    drain(app)

    assert len(sids) == 50
    if kept_in == "zodb":  # where it is comes first
        sids = {sid[-22:] for sid in sids}
    assert len(sids) == 50
    assert {len(sid) for sid in sids} == {22}  # 128 bits


@pytest.mark.kept_in("memory")
def test_the_owners_poll_makes_no_root_and_opens_no_connection(app):
    sid = app.get("/start", headers=as_user("ann")).json["sid"]
    drain(app)
    Root.made = 0
    db = databases_of(app.app.registry)[""]
    closed_before = len(db.getActivityMonitor().log)
    app.get(f"/jobs/{sid}", headers=as_user("ann"))

    assert Root.made == 0
    assert len(db.getActivityMonitor().log) == closed_before


def test_a_poll_is_not_refused_by_the_default_permission(make_app):
    app = make_app(VIEWS, configure=secure, root=Root)

    app.get("/start", status=403)
    app.get("/jobs/unknown", status=404)


def test_others_cannot_fetch_or_remove_the_outcome(app):
    sid = app.get("/start", headers=as_user("ann")).json["sid"]
    drain(app)
    bob = {"headers": as_user("bob"), "params": {"sid": sid}}

    assert app.get("/fetch", **bob).text == "None"
    app.get("/remove", **bob)
    ann = {"headers": as_user("ann"), "params": {"sid": sid}}
    assert app.get("/fetch", **ann).text == "('outcome', None)"


def test_the_owner_can_remove_the_job(app):
    sid = app.get("/start", headers=as_user("ann")).json["sid"]
    drain(app)
    app.get("/remove", headers=as_user("ann"), params={"sid": sid})

    app.get(f"/jobs/{sid}", headers=as_user("ann"), status=404)


def schedule_another():
    """Schedule a job from within one."""
    return shop.get_current_request().schedule(shop.nothing)


def test_what_a_job_schedules_belongs_to_its_owner(make_app):
    def view(request):
        return request.accepted(request.schedule(schedule_another))

    def configure(config):
        config.set_security_policy(shop.HeaderPolicy())

    app = make_app({"/view": view}, configure=configure)
    sid = app.get("/view", headers=as_user("ann")).json["sid"]
    drain(app)
    inner = wait_for(app, sid).result

    assert wait_for(app, inner).owner == "ann"


class NoSuchFile(shop.JobError):
    """An error of the application that people may read."""


def fail_readably():
    raise NoSuchFile("There is no such file.")


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (shop.fail, {"type": "ValueError"}),
        (shop.explain, {"type": "JobError", "detail": "no such file"}),
        (
            fail_readably,
            {"type": "NoSuchFile", "detail": "There is no such file."},
        ),
    ],
)
def test_only_errors_for_people_show_their_text(make_app, function, error):
    def view(request):
        return request.accepted(request.schedule(function))

    app = make_app({"/view": view})
    sid = app.get("/view").json["sid"]
    drain(app)

    assert app.get(f"/jobs/{sid}").json["error"] == {
        "title": "The job failed",
        **error,
    }


def test_an_application_lists_other_errors_for_people(make_app):
    def view(request):
        return request.accepted(request.schedule(shop.fail, "for people"))

    app = make_app(
        {"/view": view},
        zodb_async__public_errors="builtins.ValueError builtins.KeyError",
    )
    sid = app.get("/view").json["sid"]
    drain(app)

    assert app.get(f"/jobs/{sid}").json["error"]["detail"] == "for people"


class Talkative:
    """Something whose pickling says what it should not."""

    def __getstate__(self):
        raise ValueError("the password")


class Unloadable:
    """Something whose loading says what it should not."""

    def __setstate__(self, state):
        raise AttributeError("the password")

    def __getstate__(self):
        return {"a": 1}


def give_talkative():
    return [Talkative()]


def schedule_talkative():
    shop.get_current_request().schedule(shop.give, Talkative())


@pytest.mark.parametrize(
    ("function", "args"),
    [
        (give_talkative, ()),
        (schedule_talkative, ()),
        (shop.give, (Unloadable(),)),
    ],
)
def test_no_error_of_ours_repeats_what_others_say(make_app, function, args):
    def view(request):
        return request.accepted(request.schedule(function, *args))

    app = make_app({"/view": view})
    sid = app.get("/view").json["sid"]
    drain(app)
    answer = app.get(f"/jobs/{sid}")

    assert answer.json["state"] == "failed"
    assert "password" not in answer.text


class EmptyPolicy(shop.HeaderPolicy):
    """A policy in which the empty text is somebody."""

    def authenticated_userid(self, request):
        return ""


def test_an_empty_userid_is_somebody(make_app):
    def configure(config):
        config.set_security_policy(EmptyPolicy())

    app = make_app({"/start": start}, configure=configure)
    sid = app.get("/start").json["sid"]

    assert wait_for(app, sid).owner == ""


@pytest.mark.parametrize("error", [ZeroDivisionError, None])
def test_a_root_that_cannot_be_made_tells_nothing_of_a_job(
    make_app, caplog, error
):
    made = []

    def root(request):
        made.append(request)
        if error is not None and request.path.startswith("/jobs/"):
            raise error
        if len(made) == 2:
            raise ConflictError  # which is tried again
        return Root(request)

    def configure(config):
        config.set_security_policy(shop.HeaderPolicy())

    app = make_app(
        {"/start": start},
        configure=configure,
        root=root,
        zodb_async__permission="see jobs",
        zodb_async__engine="inline",
    )
    scheduler = app.app.registry.getUtility(IScheduler)
    with transaction.manager:
        sid = scheduler.schedule_call(
            shop.nothing,
            (),
            {},
            ThreadConnections(),
            owner="ann",
        )
    made[:] = [None]
    answer = app.get(f"/jobs/{sid}", headers=as_user("bob"), status=404)
    unknown = app.get("/jobs/unknown", headers=as_user("bob"), status=404)

    assert answer.body == unknown.body
    assert answer.headers == unknown.headers
    assert ("who may see the jobs" in caplog.text) == (error is not None)


class NoBlankPolicy(shop.HeaderPolicy):
    """A policy that takes no request without a user."""

    def authenticated_userid(self, request):
        if "X-User" not in request.headers:
            raise ZeroDivisionError
        return self.identity(request)


def test_a_job_schedules_without_asking_who_is_logged_in(make_app):
    def view(request):
        return request.accepted(request.schedule(schedule_another))

    def configure(config):
        config.set_security_policy(NoBlankPolicy())

    app = make_app({"/view": view}, configure=configure)
    sid = app.get("/view", headers=as_user("ann")).json["sid"]

    assert wait_for(app, wait_for(app, sid).result).owner == "ann"
