"""The headers that all answers of the package have."""

import pytest
import shop
from pyramid.httpexceptions import HTTPUnauthorized
from pyramid.request import Request
from pyramid.response import Response

from pyramid_zodb_async import IJobAccess
from pyramid_zodb_async.testing import drain
from pyramid_zodb_async.web.static_files import VERSION

pytestmark = pytest.mark.kept_in("memory", "zodb")


class Policy(shop.HeaderPolicy):
    """Asks for a login by an error, as applications may."""

    def authenticated_userid(self, request):
        if "X-Broken" in request.headers:
            raise HTTPUnauthorized
        return super().authenticated_userid(request)


def is_guarded(answer):
    return answer.headers.getall("X-Content-Type-Options") == ["nosniff"]


@pytest.fixture
def app(make_app):
    return make_app(
        {"/start": shop.start},
        configure=lambda config: config.set_security_policy(Policy()),
        zodb_async__max_pending=1,
        zodb_async__max_wait=1,
        # else pyramid_tm asks for the user where no error is handled
        tm__annotate_user="false",
    )


def test_every_answer_about_jobs_is_taken_for_what_it_says(app, gate):
    ann, bob = {"X-User": "ann"}, {"X-User": "bob"}
    path = shop.begin(app, "wait_at", "gate", headers=ann)
    gate.wait_for_job()
    etag = app.get(path, headers=ann).headers["ETag"]
    known = ann | {"If-None-Match": etag}
    stale = ann | {"If-Match": '"4294967296"'}
    broken = {"X-Broken": "yes"}
    answers = [
        app.get(path, headers=ann),
        app.head(path, headers=ann),
        app.get(path, headers=known, status=304),
        app.get(path, headers=known | {"Prefer": "wait=1"}, status=304),
        app.get(path, headers=broken, status=401),
        app.get(path, headers=bob, status=404),
        app.get("/jobs", status=400),
        app.get("/jobs?sid=%ff", status=400),
        app.get("/jobs?sid=unknown"),
        app.put(path, status=405),
        app.options(path),
        app.options("/jobs"),
        app.post(f"{path}/retry", headers=ann, status=409),
        app.delete(path, headers=stale, status=412),
        app.delete(path, headers=ann, status=202),
        app.delete(path, headers=ann, status=204),
        Request.blank("/jobs/%ff").get_response(app.app),
    ]

    assert [
        answer.status for answer in answers if not is_guarded(answer)
    ] == []


def test_so_are_those_to_who_may_see_a_job_only(make_app, gate):
    class ViewOnly:
        def may(self, request, job, action):
            return action == "view"

    def configure(config):
        config.set_security_policy(Policy())
        config.registry.registerUtility(ViewOnly(), IJobAccess)

    app = make_app({"/start": shop.start}, configure=configure)
    path = shop.begin(app, "nothing", headers={"X-User": "ann"})
    drain(app)

    assert is_guarded(app.delete(path, headers={"X-User": "bob"}, status=403))


def test_so_is_the_answer_to_who_has_scheduled_one_or_too_many(make_app):
    app = make_app(
        {"/start": shop.start},
        zodb_async__max_pending=1,
        zodb_async__engine="manual",
    )
    params = {"function": "nothing"}
    assert is_guarded(app.post("/start", params, status=202))
    assert is_guarded(app.post("/start", params, status=503))


@pytest.mark.parametrize("version", ["", f"{VERSION}/", f"{'0' * 16}/"])
def test_so_are_static_files(app, version):
    path = f"/jobs/static/{version}jobs.js"
    answer = app.get(path)
    stamp = answer.headers["Last-Modified"]
    answers = [
        answer,
        app.head(path),
        app.get(path, headers={"If-Modified-Since": stamp}, status=304),
        app.get(path, headers={"Range": "bytes=0-9"}, status="*"),
        app.get(f"/jobs/static/{version}nothing.js", status=404),
        app.get(f"/jobs/static/{version}openapi.json"),
        app.get(f"/jobs/static/{version}jobs.d.ts"),
    ]

    assert all(map(is_guarded, answers))
    assert answer.content_type in {
        "text/javascript",
        "application/javascript",
    }


def harden_factory(handler, registry):
    """Set such headers by a tween, as many applications do."""

    def harden_tween(request):
        answer = handler(request)
        answer.headers["X-Content-Type-Options"] = "nosniff"
        return answer

    return harden_tween


def test_an_application_that_sets_it_too_sets_it_once(make_app):
    app = make_app(
        {"/look": lambda _request: Response()},
        configure=lambda config: config.add_tween(
            "test_answer_headers.harden_factory"
        ),
    )

    assert is_guarded(app.get("/jobs/unknown", status=404))
    assert is_guarded(app.get("/jobs/static/jobs.js"))
    assert is_guarded(app.get("/look"))
