"""What the tests of an application use."""

import pytest
import shop
from pyramid.response import Response

from pyramid_zodb_async import JobState
from pyramid_zodb_async.testing import drain, wait_for

pytestmark = pytest.mark.kept_in("memory", "zodb")


@pytest.fixture
def app(make_app, gate):
    """Give an application whose jobs wait at a gate."""

    def view(request):
        return request.accepted(request.schedule(shop.wait_at, "gate"))

    def many(request):
        request.schedule.many(shop.wait_at, [("gate",)] * 25)
        return Response("done")

    return make_app({"/view": view, "/many": many})


@pytest.mark.parametrize(
    "choose",
    [
        lambda app: app,
        lambda app: app.app,
        lambda app: app.app.registry,
        lambda app: app.get("/view").request.environ["the request"],
    ],
    ids=["TestApp", "WSGI application", "registry", "request"],
)
def test_an_application_can_be_given_in_many_forms(make_app, choose):
    def view(request):
        request.environ["the request"] = request
        return Response(request.schedule(shop.give, 1))

    app = make_app({"/view": view})
    sid = app.get("/view").text
    drain(choose(app))

    assert wait_for(choose(app), sid).result == 1


def test_draining_waits_for_every_job(app, gate):
    sids = [app.get("/view").json["sid"] for _ in range(5)]
    gate.open()
    drain(app)

    assert all(wait_for(app, sid, 0).done for sid in sids)


def test_draining_an_application_without_jobs_ends_at_once(app):
    drain(app, timeout=0)


def test_draining_has_an_end_and_tells_what_has_none(app):
    sid = app.get("/view").json["sid"]
    with pytest.raises(TimeoutError) as caught:
        drain(app, timeout=0.05)

    assert f"{sid} (shop:wait_at) is " in str(caught.value)


def test_draining_names_no_more_than_one_can_read(app):
    app.get("/many")
    with pytest.raises(TimeoutError) as caught:
        drain(app, timeout=0.05)

    assert str(caught.value).count("(shop:wait_at) is ") == 20
    assert str(caught.value).endswith(", and 5 more")


def test_waiting_for_a_job_tells_how_it_ended(app, gate):
    sid = app.get("/view").json["sid"]
    gate.open()

    assert wait_for(app, sid).state is JobState.SUCCEEDED


def test_waiting_for_a_job_has_an_end(app):
    sid = app.get("/view").json["sid"]
    with pytest.raises(TimeoutError, match=r"After 0.05 s the job .* is "):
        wait_for(app, sid, timeout=0.05)


def test_waiting_for_an_unknown_job_is_an_error(app):
    with pytest.raises(LookupError, match="did its request commit"):
        wait_for(app, "unknown")
