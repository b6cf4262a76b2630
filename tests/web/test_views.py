"""The job resource over HTTP."""

import pytest
import shop
from pyramid.csrf import CookieCSRFStoragePolicy
from pyramid.response import Response
from shop import begin, start
from webtest import TestApp

from pyramid_zodb_async import IScheduler
from pyramid_zodb_async.testing import drain, wait_for

pytestmark = pytest.mark.kept_in("memory", "zodb")


def cancel(request):
    return Response(repr(request.jobs.cancel(request.params["sid"])))


def start_and_cancel(request):
    sid = request.schedule(shop.add, "effect")
    return Response(repr(request.jobs.cancel(sid)))


def retry(request):
    return Response(repr(request.jobs.retry(request.params["sid"])))


VIEWS = {
    "/start": start,
    "/start-and-cancel": start_and_cancel,
    "/cancel": cancel,
    "/retry": retry,
}


@pytest.fixture
def app(make_app):
    return make_app(VIEWS)


def end(app, function, *arguments):
    """Run a job, and give its path."""
    path = begin(app, function, *arguments)
    wait_for(app, path.rpartition("/")[2])
    return path


# -- GET ----------------------------------------------------------------------


def test_an_unfinished_job_has_a_pace_and_a_finished_one_has_not(app, gate):
    path = begin(app, "wait_at", "gate")
    unfinished = app.get(path)
    gate.open()
    drain(app)
    finished = app.get(path)

    assert unfinished.headers["Retry-After"] == "1"
    assert "Retry-After" not in finished.headers
    for answer in (unfinished, finished):
        assert answer.headers["Cache-Control"] == "private, no-cache"
        assert answer.headers["Vary"] == "Prefer"
        assert answer.headers["ETag"].startswith('"')


def test_a_job_that_did_not_change_is_not_sent_again(app):
    path = end(app, "give", "result")
    etag = app.get(path).headers["ETag"]
    again = app.get(path, headers={"If-None-Match": etag})

    assert again.status_code == 304
    assert again.body == b""
    assert again.headers["ETag"] == etag
    assert again.headers["Cache-Control"] == "private, no-cache"
    assert again.headers["Vary"] == "Prefer"
    assert "Content-Type" not in again.headers


def test_each_change_has_a_tag_of_its_own(app, gate):
    shop.gates["other"] = other = shop.Gate()
    begin(app, "wait_at", "other")
    begin(app, "wait_at", "other")
    path = begin(app, "report_at", "gate", "first", "second")
    tags = [app.get(path).headers["ETag"]]
    other.open()
    gate.wait_for_job()
    tags.append(app.get(path).headers["ETag"])
    gate.open()
    drain(app)
    tags.append(app.get(path).headers["ETag"])

    assert len(set(tags)) == 3


def test_a_tag_is_the_version_in_the_document(app, gate):
    path = begin(app, "wait_at", "gate")
    gate.wait_for_job()
    begun = app.get(path)
    gate.open()
    drain(app)
    ended = app.get(path)

    assert begun.headers["ETag"] == f'"{begun.json["version"]}"'
    assert ended.headers["ETag"] == f'"{ended.json["version"]}"'
    assert 0 < begun.json["version"] < ended.json["version"]


def test_head_answers_as_get_without_a_body(app):
    path = end(app, "give", "result")
    got, head = app.get(path), app.head(path)

    assert head.body == b""
    assert head.headers["ETag"] == got.headers["ETag"]
    assert head.headers["Content-Length"] == got.headers["Content-Length"]
    again = app.head(path, headers={"If-None-Match": got.headers["ETag"]})
    assert again.status_code == 304


# -- Several jobs -------------------------------------------------------------


def test_several_jobs_come_in_the_order_asked(app, gate):
    done = end(app, "give", "result").rpartition("/")[2]
    running = begin(app, "wait_at", "gate").rpartition("/")[2]
    gate.wait_for_job()
    query = f"/jobs?sid={running}&sid=unknown&sid={done}"
    answer = app.get(query)
    jobs = answer.json["jobs"]

    assert [job["sid"] for job in jobs] == [running, "unknown", done]
    assert jobs[0]["state"] == "running"
    assert jobs[1] == {"sid": "unknown", "status": 404}
    assert jobs[2]["result"] == "result"
    assert answer.headers["Retry-After"] == "1"
    assert answer.headers["Cache-Control"] == "private, no-cache"
    etag = answer.headers["ETag"]
    assert app.get(query, headers={"If-None-Match": etag}).status_code == 304


def test_a_result_that_cannot_be_shown_spoils_no_other(app):
    good = end(app, "give", "result").rpartition("/")[2]
    bad = end(app, "give_set").rpartition("/")[2]
    jobs = app.get(f"/jobs?sid={bad}&sid={good}").json["jobs"]

    assert jobs[0]["error"]["type"] == "ResultNotRenderable"
    assert jobs[1]["result"] == "result"


@pytest.mark.parametrize("count", [0, 101, 1000])
def test_none_and_too_many_jobs_are_refused_clearly(app, count):
    query = "&".join(["sid=unknown"] * count)
    answer = app.get(f"/jobs?{query}", status=400)

    assert answer.content_type == "application/problem+json"
    assert answer.json["detail"].endswith(f"these are {count}.")
    assert "1 to 100" in answer.json["detail"]


def test_a_hundred_jobs_are_answered(app):
    answer = app.get("/jobs?" + "&".join(f"sid={n}" for n in range(100)))

    assert len(answer.json["jobs"]) == 100
    assert "Retry-After" not in answer.headers


# -- DELETE -------------------------------------------------------------------


def test_deleting_a_waiting_job_cancels_it_at_once(app, gate):
    for _ in range(2):  # as many as run at a time
        begin(app, "wait_at", "gate")
    path = begin(app, "add", "effect")
    answer = app.delete(path, status=202)
    gate.open()
    drain(app)

    assert answer.json["state"] == "cancelled"
    assert answer.json["done"] is True
    assert answer.json["error"] == {
        "type": "JobCancelled",
        "title": "The job was cancelled",
    }
    assert app.get(path).json == answer.json
    assert app.get(path).headers["ETag"] == answer.headers["ETag"]
    assert shop.effects(app) == []


def test_deleting_a_running_job_leaves_none_of_its_effects(app, gate):
    path = begin(app, "add_and_wait_at", "gate")
    gate.wait_for_job()
    answer = app.delete(path, status=202)
    assert answer.json["state"] == "cancelled"
    assert answer.json["attempt"] == 1
    assert answer.json["started"]
    gate.open()
    drain(app)

    assert app.get(path).json["state"] == "cancelled"
    assert shop.effects(app) == []


def test_deleting_a_finished_job_forgets_it(app):
    path = end(app, "give", "result")
    answer = app.delete(path, status=204)

    assert answer.body == b""
    app.get(path, status=404)
    app.delete(path, status=404)


def test_a_cancelled_job_can_be_forgotten(app, gate):
    path = begin(app, "wait_at", "gate")
    app.delete(path, status=202)
    app.delete(path, status=204)

    app.get(path, status=404)


def test_a_cancel_that_comes_too_late_forgets_nothing(app, monkeypatch, gate):
    """The job ends after the first look and before the cancel is written."""
    path = begin(app, "wait_at", "gate")
    gate.wait_for_job()
    scheduler = app.app.registry.getUtility(IScheduler)
    find = scheduler.find

    def find_and_wait(sid, connections):
        found = find(sid, connections)
        if not gate.opened.is_set():
            gate.open()
            assert scheduler.wait(sid, 10)
        return found

    monkeypatch.setattr(scheduler, "find", find_and_wait)
    answer = app.delete(path, status=409)

    assert answer.json["state"] == "succeeded"
    assert answer.json["result"] == "gate"
    assert app.get(path).json == answer.json


def test_a_job_that_goes_while_it_is_cancelled_is_unknown(
    app, monkeypatch, gate
):
    path = begin(app, "wait_at", "gate")
    scheduler = app.app.registry.getUtility(IScheduler)

    find, removed = scheduler.find, []

    def find_and_remove(sid, connections):
        found = find(sid, connections)
        if not removed:
            removed.append(sid)
            # by somebody else
            scheduler.in_own_transaction(
                lambda own: scheduler.remove(sid, own),
                lambda: connections,
                "removed",
            )
        return found

    monkeypatch.setattr(scheduler, "find", find_and_remove)

    app.delete(path, status=404)


@pytest.mark.parametrize(
    ("header", "status"), [('"0"', 202), ("*", 202), ('"4294967296"', 412)]
)
def test_a_cancel_can_be_made_to_depend_on_what_was_seen(
    app, gate, header, status
):
    path = begin(app, "wait_at", "gate")
    gate.wait_for_job()
    answer = app.delete(path, headers={"If-Match": header}, status=status)
    state = "cancelled" if status == 202 else "running"

    assert answer.json["state"] == state
    assert app.get(path).json["state"] == state


def test_a_forget_can_be_made_to_depend_on_what_was_seen(app):
    path = end(app, "give", "result")
    etag = app.get(path).headers["ETag"]
    old = app.delete(path, headers={"If-Match": '"0"'}, status=412)

    assert old.json["result"] == "result"
    assert old.headers["ETag"] == etag
    app.delete(path, headers={"If-Match": etag}, status=204)


# -- Retry --------------------------------------------------------------------


def test_a_failed_job_runs_again_with_its_arguments(app):
    shop.luck[:] = [False, True]
    path = end(app, "try_luck", "argument")
    failed = app.get(path)
    assert failed.json["state"] == "failed"
    answer = app.post(f"{path}/retry", status=202)
    drain(app)
    again = app.get(path)

    assert answer.location == f"http://localhost{path}"
    assert answer.headers["Retry-After"] == "1"
    assert answer.json["state"] == "pending"
    assert answer.json["finished"] is None
    assert "error" not in answer.json
    assert again.json["state"] == "succeeded"
    assert again.json["result"] == "argument"
    assert again.json["attempt"] == 2
    tags = [each.headers["ETag"] for each in (failed, answer, again)]
    assert len(set(tags)) == 3


def test_a_job_that_failed_can_fail_again_and_again(app):
    path = end(app, "explain", "the reason")
    for attempt in range(2, 5):
        app.post(f"{path}/retry", status=202)
        drain(app)
        document = app.get(path).json
        assert document["attempt"] == attempt
        assert document["error"]["detail"] == "the reason"


def test_only_a_failed_job_can_be_retried(app, gate):
    succeeded = end(app, "give", "result")
    running = begin(app, "wait_at", "gate")
    gate.wait_for_job()
    cancelled = begin(app, "wait_at", "gate")
    app.delete(cancelled)

    for path in (succeeded, running, cancelled):
        state = app.get(path).json["state"]
        answer = app.post(f"{path}/retry", status=409)
        assert answer.json["state"] == state
    app.post("/jobs/unknown/retry", status=404)


def test_a_retry_can_be_made_to_depend_on_what_was_seen(app):
    path = end(app, "explain")
    etag = app.get(path).headers["ETag"]
    retried = app.post(f"{path}/retry", headers={"If-Match": etag}, status=202)
    drain(app)
    app.post(f"{path}/retry", headers={"If-Match": etag}, status=412)

    assert retried.json["state"] == "pending"
    assert app.get(path).json["attempt"] == 2


def test_two_retries_make_one_run(app):
    path = end(app, "explain")
    app.post(f"{path}/retry", status=202)
    app.post(f"{path}/retry", status="*")
    drain(app)

    assert app.get(path).json["attempt"] in {2, 3}
    assert app.get(path).json["state"] == "failed"


# -- Python -------------------------------------------------------------------


def test_views_cancel_and_retry_in_their_own_transactions(app, gate):
    sid = begin(app, "wait_at", "gate").rpartition("/")[2]
    gate.wait_for_job()
    assert app.get("/cancel", {"sid": sid}).text == "True"
    assert app.get("/cancel", {"sid": sid}).text == "False"
    gate.open()
    failed = end(app, "explain").rpartition("/")[2]
    assert app.get("/retry", {"sid": failed}).text == "True"
    drain(app)

    assert app.get("/retry", {"sid": sid}).text == "False"
    assert app.get("/retry", {"sid": "unknown"}).text == "False"
    assert app.get("/cancel", {"sid": "unknown"}).text == "False"
    assert app.get(f"/jobs/{failed}").json["attempt"] == 2


def test_a_job_that_its_own_request_cancels_does_not_run(app):
    assert app.get("/start-and-cancel").text == "True"
    drain(app)

    assert shop.effects(app) == []


# -- Methods and URLs ---------------------------------------------------------

RESOURCES = [
    ("/jobs?sid=unknown", "GET, HEAD, OPTIONS"),
    ("/jobs/unknown", "GET, HEAD, DELETE, OPTIONS"),
    ("/jobs/unknown/retry", "POST, OPTIONS"),
]


@pytest.mark.parametrize(("path", "allowed"), RESOURCES)
def test_each_resource_tells_its_methods(app, path, allowed):
    answer = app.options(path)

    assert answer.status_code == 204
    assert answer.body == b""
    assert answer.headers["Allow"] == allowed


@pytest.mark.parametrize(("path", "allowed"), RESOURCES)
@pytest.mark.parametrize(
    "method", ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"]
)
def test_other_methods_are_refused_whatever_the_job(
    app, path, allowed, method
):
    if method in allowed:
        return
    answer = app.request(path, method=method, status=405)

    assert answer.headers["Allow"] == allowed
    assert answer.content_type == "application/problem+json"
    assert answer.json["status"] == 405
    assert answer.json["detail"] == (
        f"This does not answer to {method}, only to {allowed}."
    )


def test_urls_are_right_below_a_path_and_behind_a_proxy(app, gate):
    environ = {
        "SCRIPT_NAME": "/shop",
        "HTTP_HOST": "shop.example:8443",
        "wsgi.url_scheme": "https",
    }
    mounted = TestApp(app.app, extra_environ=environ)
    params = {"function": "explain", "argument": "why"}
    started = mounted.post("/start", params)
    base = "https://shop.example:8443/shop/jobs/"
    assert started.location == base + started.json["sid"]
    drain(app)
    retried = mounted.post(f"/jobs/{started.json['sid']}/retry")

    assert retried.location == started.location


def test_a_route_prefix_moves_all_of_it(make_app):
    app = make_app(
        VIEWS,
        includes=("pyramid_retry", "pyramid_tm", "pyramid_zodbconn"),
        configure=lambda config: config.include(
            "pyramid_zodb_async", route_prefix="/api"
        ),
        zodb_async__route_prefix="tasks",
    )
    sid = app.post("/start", {"function": "explain"}).json["sid"]
    drain(app)

    assert app.get(f"/api/tasks/{sid}").json["state"] == "failed"
    assert app.get(f"/api/tasks?sid={sid}").json["jobs"][0]["sid"] == sid
    retried = app.post(f"/api/tasks/{sid}/retry")
    assert retried.location == f"http://localhost/api/tasks/{sid}"
    app.get("/api/tasks/%ff", status=404)


# -- CSRF ---------------------------------------------------------------------


@pytest.fixture
def protected(make_app):
    """Give an application that wants a token for each change."""

    def configure(config):
        config.set_csrf_storage_policy(CookieCSRFStoragePolicy())
        config.set_default_csrf_options(require_csrf=True)

    return make_app(VIEWS, configure=configure)


def test_changes_need_the_token_that_the_application_wants(protected):
    protected.set_cookie("csrf_token", "secret")
    token = {"X-CSRF-Token": "secret"}
    params = {"function": "explain"}
    sid = protected.post("/start", params, headers=token).json["sid"]
    drain(protected)
    path = f"/jobs/{sid}"

    for answer in (
        protected.delete(path, status=400),
        protected.post(f"{path}/retry", status=400),
        protected.delete("/jobs/unknown", status=400),
    ):
        assert answer.content_type == "application/problem+json"
        assert "CSRF" in answer.json["detail"]
        assert answer.json["code"] == "csrf"
    assert protected.get(path).json["attempt"] == 1
    protected.post(f"{path}/retry", headers=token, status=202)
    drain(protected)
    protected.delete(path, headers=token, status=204)


def test_another_origin_is_not_taken_for_an_old_page(protected):
    protected.set_cookie("csrf_token", "secret")
    headers = {"X-CSRF-Token": "secret", "Origin": "https://elsewhere.test"}
    environ = {"wsgi.url_scheme": "https", "HTTP_HOST": "localhost:443"}
    answer = protected.delete(
        "/jobs/unknown", headers=headers, extra_environ=environ, status=400
    )

    assert "another origin" in answer.json["detail"]
    assert "code" not in answer.json


def test_a_method_that_there_is_none_of_needs_no_token(protected):
    protected.put("/jobs/unknown", status=405)
    protected.options("/jobs/unknown", status=204)
