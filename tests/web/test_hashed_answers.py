"""A tween of the application makes the tags of all answers from bodies."""

import pickle

import pytest
import shop
from pyramid.request import Request

from pyramid_zodb_async.testing import drain

pytestmark = pytest.mark.kept_in("memory", "zodb")


def hash_answers(handler, registry):
    """Be a tween as many applications have one."""

    def tween(request):
        response = handler(request)
        if response.status_int in {200, 202}:
            response.md5_etag()
            response.conditional_response = True
        return response

    return tween


@pytest.fixture
def app(make_app):
    return make_app(
        {"/start": shop.start},
        configure=lambda config: config.add_tween(f"{__name__}.hash_answers"),
        zodb_async__max_wait=1,
    )


def test_a_poll_with_its_tag_is_answered_at_once(app, gate):
    path = shop.begin(app, "wait_at", "gate")
    gate.wait_for_job()
    tag = app.get(path).headers["ETag"]
    asked = {"If-None-Match": tag, "Prefer": "wait=1"}
    answer = app.get(path, headers=asked)

    assert answer.status_int == 304  # it is the tween that says so
    assert answer.headers["ETag"] == tag
    assert answer.headers["Retry-After"] != "0"
    gate.open()
    drain(app)
    assert app.get(path, headers=asked, status=200).json["result"] == "gate"


def test_a_change_with_its_tag_is_refused_and_with_the_version_made(app, gate):
    path = shop.begin(app, "wait_at", "gate")
    gate.wait_for_job()
    answer = app.get(path)
    refused = app.delete(
        path, headers={"If-Match": answer.headers["ETag"]}, status=412
    )
    assert refused.json["state"] == "running"
    version = f'"{refused.json["version"]}"'
    cancelled = app.delete(path, headers={"If-Match": version}, status=202)
    assert cancelled.json["state"] == "cancelled"
    version = f'"{cancelled.json["version"]}"'
    app.delete(path, headers={"If-Match": version}, status=204)


def test_the_location_of_an_accepted_job_stays_a_path(app):
    answer = app.post("/start", {"function": "nothing"}, status=202)

    assert answer.location == f"/jobs/{answer.json['sid']}"


def keep(request):
    """Keep an answer as a cache would, and give it back."""
    response = request.accepted(request.schedule(shop.nothing))
    return pickle.loads(pickle.dumps(response))


def test_an_answer_that_a_cache_has_kept_is_the_same(make_app):
    app = make_app({"/view": keep})
    asked = Request.blank("/view", headers={"Host": "elsewhere.example"})
    answer = asked.get_response(app.app)

    assert answer.location == f"/jobs/{answer.json['sid']}"
