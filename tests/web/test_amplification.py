"""A small request makes neither much of an answer nor much work."""

import gc
import tracemalloc
from itertools import count

import pytest
import shop
from pyramid import traversal
from pyramid.renderers import JSON
from pyramid.request import Request
from pyramid.response import Response
from pyramid.scripting import prepare
from shop import PATIENCE, sid_of

from pyramid_zodb_async import IScheduler, UnknownJob
from pyramid_zodb_async.testing import drain

pytestmark = pytest.mark.kept_in("memory", "zodb")

MEGABYTE = 2**20

#: How long sids are here, as servers take requests of up to 256 kB.
LONG = 100_000


def give_megabytes(number):
    """Return a large result."""
    return "x" * (int(number) * MEGABYTE)


def ask_for_url(request):
    request.job_url(request.params["sid"])
    request.job_progress(request.params["sid"])
    return Response()


@pytest.fixture
def app(make_app):
    return make_app({"/start": start})


def start(request):
    """Schedule a job with so large a result."""
    return request.accepted(
        request.schedule(give_megabytes, request.params["megabytes"])
    )


def make_jobs(app, *megabytes):
    """Give the sids of jobs with results of so many megabytes."""
    sids = [
        app.post("/start", {"megabytes": number}).json["sid"]
        for number in megabytes
    ]
    drain(app)
    return sids


def ask(app, sids, **headers):
    named = {name.replace("_", "-"): headers[name] for name in headers}
    return app.get("/jobs", [("sid", sid) for sid in sids], headers=named)


def sizes_in(answer):
    """Give the megabytes of the results in an answer, or what is instead."""
    return [
        len(job["result"]) // MEGABYTE if "result" in job else job["status"]
        for job in answer.json["jobs"]
    ]


def test_a_sid_that_is_repeated_is_answered_once_at_its_first_place(app):
    one, other = make_jobs(app, 0, 0)
    answer = ask(app, [one, other, *[one] * 98])
    jobs = answer.json["jobs"]
    assert [job["sid"] for job in jobs] == [one, other]
    assert answer.headers["ETag"].count("_") == 1

    etag = answer.headers["ETag"]
    again = ask(app, [one, other, one], If_None_Match=etag)
    assert again.status_code == 304
    assert again.headers["ETag"] == etag


def test_a_wait_for_the_same_job_many_times_is_a_wait_for_it(make_app, gate):
    app = make_app({"/start": shop.start}, zodb_async__max_wait=PATIENCE)
    sid = sid_of(shop.begin(app, "wait_at", "gate"))
    gate.wait_for_job()
    waiters = shop.scheduler_of(app).waiters
    prefer = {"Prefer": f"wait={PATIENCE}"}
    answer = shop.Answer(ask, app, [sid] * 100, **prefer)
    shop.wait_until(lambda: shop.waiting(waiters))
    gate.open()

    assert [job["done"] for job in answer.get().json["jobs"]] == [True]
    assert not waiters


def test_the_results_of_one_answer_are_four_megabytes_at_most(app):
    sids = make_jobs(app, 1, 2, 1, 0)
    answer = ask(app, sids)

    assert len(answer.body) <= 4 * MEGABYTE
    assert sizes_in(answer) == [1, 2, 413, 0]
    assert answer.json["jobs"][2] == {"sid": sids[2], "status": 413}


def test_a_job_alone_gives_its_result_however_large_it_is(app):
    (sid,) = make_jobs(app, 5)
    assert sizes_in(ask(app, [sid])) == [413]

    assert len(app.get(f"/jobs/{sid}").json["result"]) == 5 * MEGABYTE


def test_who_knows_the_answer_with_what_is_missing_gets_it_not_again(app):
    sids = make_jobs(app, 5, 0)
    etag = ask(app, sids).headers["ETag"]

    assert ask(app, sids, If_None_Match=etag).status_code == 304


def test_the_work_for_results_that_are_too_large_is_bounded(make_app):
    asked = []

    def configure(config):
        json_renderer = JSON()

        def render(info):
            inner = json_renderer(info)

            def note(value, system):
                asked.append(value["sid"])
                return inner(value, system)

            return note

        config.add_renderer("json", render)

    app = make_app({"/start": start}, configure=configure)
    sids = make_jobs(app, *[9] * 6, 0)
    asked.clear()
    answer = ask(app, sids)

    assert sizes_in(answer) == [413] * 7
    assert asked == sids[:2]


def test_an_unfinished_job_is_shown_beside_results_that_are_too_large(
    make_app, gate
):
    app = make_app({"/start": start, "/wait": shop.start})
    waiting = app.post("/wait", {"function": "wait_at", "argument": "gate"})
    gate.wait_for_job()
    sids = [app.post("/start", {"megabytes": 9}).json["sid"] for _ in range(2)]
    for sid in sids:
        shop.wait_until(lambda sid=sid: app.get(f"/jobs/{sid}").json["done"])
    jobs = ask(app, [*sids, waiting.json["sid"]]).json["jobs"]

    assert [job.get("state", job.get("status")) for job in jobs] == [
        413,
        413,
        "running",
    ]


# -- Long sids ----------------------------------------------------------------

KEY = "A" * 22

numbers = count(1)


def long_sids():
    """Give texts that are sids but for their length, each another one."""
    for number in numbers:
        yield f"{number:x}{'1' * LONG}-{KEY}"


def send(app, method, path):
    """Send a request so that nothing of it stays with the test."""
    return Request.blank(path, method=method).get_response(app.app).status_int


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/jobs/{}", 404),
        ("HEAD", "/jobs/{}", 404),
        ("DELETE", "/jobs/{}", 404),
        ("POST", "/jobs/{}/retry", 404),
        ("GET", "/jobs?sid={}", 200),
        ("GET", "/look?sid={}", 200),
        ("GET", "/url?sid={}", 200),
    ],
)
def test_nothing_of_a_long_sid_is_kept(make_app, method, path, status):
    app = make_app({"/look": look_by_all_means, "/url": ask_for_url})
    sids = long_sids()
    for _ in range(3):  # what is made by the first ones is made once
        assert send(app, method, path.format(next(sids))) == status
    tracemalloc.start()
    try:
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(20):
            send(app, method, path.format(next(sids)))
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert after - before < 5 * LONG


def look_by_all_means(request):
    """Call all that the application can call with a sid of a client."""
    sid, jobs = request.params["sid"], request.jobs
    assert jobs.get(sid) is jobs.glance(sid) is jobs.completed(sid) is None
    assert jobs.get_result(sid) is None
    assert not jobs.cancel(sid)
    assert not jobs.retry(sid)
    jobs.remove(sid)
    scheduler = request.registry.getUtility(IScheduler)
    assert scheduler.get(sid) is scheduler.completed(sid) is None
    return Response()


def test_a_long_sid_is_not_looked_up(make_app, monkeypatch):
    app = make_app()
    scheduler = shop.scheduler_of(app)
    asked = []
    for name in ("find", "glance"):
        monkeypatch.setattr(scheduler, name, lambda sid, *_: asked.append(sid))
    long = next(long_sids())
    app.get(f"/jobs/{long}", status=404)
    app.delete(f"/jobs/{long}", status=404)
    app.post(f"/jobs/{long}/retry", status=404)
    prefer = {"Prefer": "wait=1"}
    answer = app.get(f"/jobs?sid={long}&sid=unknown", headers=prefer)

    assert answer.json["jobs"] == [
        {"sid": long, "status": 404},
        {"sid": "unknown", "status": 404},
    ]
    assert set(asked) == {"unknown"}


def test_nobody_waits_in_a_script_for_a_long_sid(make_app):
    registry = make_app().app.registry
    with prepare(registry=registry) as env, pytest.raises(UnknownJob):
        env["request"].jobs.wait(next(long_sids()), 0)


def test_pyramid_remembers_nothing_of_the_url_of_a_job(make_app):
    app = make_app({"/url": ask_for_url})
    app.get("/url?sid=first")
    before = len(traversal._segment_cache)
    app.get("/url?sid=second")

    assert len(traversal._segment_cache) == before


# -- Long headers -------------------------------------------------------------


def test_of_a_hundred_tags_the_one_that_fits_is_found(app):
    sids = make_jobs(app, 0, 0)
    etag = ask(app, sids).headers["ETag"]
    tags = ", ".join([*(f'"{number}_7"' for number in range(99)), etag])

    assert ask(app, sids, If_None_Match=tags).status_code == 304


def test_no_more_tags_are_read(app):
    (sid,) = make_jobs(app, 0)
    path = f"/jobs/{sid}"
    etag = app.get(path).headers["ETag"]
    tags = ", ".join([*['"1_1"'] * 100, etag])
    answer = app.get(path, headers={"If-None-Match": tags})
    assert answer.status_code == 200

    app.delete(path, headers={"If-Match": tags}, status=412)


def test_no_more_than_a_hundred_preferences_are_read(app):
    (sid,) = make_jobs(app, 0)
    for others, is_applied in ((99, True), (100, False)):
        preferences = ", ".join([*["foo"] * others, "wait=1"])
        answer = app.get(f"/jobs/{sid}", headers={"Prefer": preferences})
        assert ("Preference-Applied" in answer.headers) == is_applied
