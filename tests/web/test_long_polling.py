"""Requests that wait for a job to change."""

import socket
import time
import urllib.request
from itertools import count

import pytest
import shop
import transaction
from ports import free_port
from pyramid.response import Response
from shop import PATIENCE, begin, start, waiting
from webtest.http import StopableWSGIServer

from pyramid_zodb_async import IScheduler, Progress
from pyramid_zodb_async.database.application import databases_of
from pyramid_zodb_async.testing import wait_for
from pyramid_zodb_async.web.request_schedule import has_transaction

pytestmark = pytest.mark.kept_in("memory", "zodb")


def page(request):
    return Response(str(len(shop.root(request))))


VIEWS = {"/start": start, "/page": page}


@pytest.fixture
def app(make_app):
    return make_app(VIEWS, zodb_async__max_wait=PATIENCE)


#: Longer than any test takes, and so is half of it.
LONG = f"wait={PATIENCE}"
NOT_LONG = PATIENCE / 2


def begin_waiting(app, path, preference=LONG, **headers):
    """Ask in another thread, and come back when that waits."""
    scheduler = app.app.registry.getUtility(IScheduler)
    before = len(waiting(scheduler.waiters))
    named = {name.replace("_", "-"): headers[name] for name in headers}
    answer = shop.Answer(
        app.get, path, headers={"Prefer": preference, **named}
    )
    shop.wait_until(
        lambda: answer.has_come or len(waiting(scheduler.waiters)) > before
    )
    return answer


def test_a_request_waits_for_the_end_of_the_job(app, gate):
    path = begin(app, "wait_at", "gate")
    answer = begin_waiting(app, path)
    gate.wait_for_job()
    answer.join(0.1)
    assert not answer.has_come
    gate.open()
    response = answer.get()

    assert response.json["result"] == "gate"
    assert response.headers["Preference-Applied"] == LONG
    assert "Retry-After" not in response.headers
    assert answer.seconds < NOT_LONG


def test_a_wait_that_finds_nothing_is_all_the_pause_there_is(app, gate):
    path = begin(app, "wait_at", "gate")
    gate.wait_for_job()
    etag = app.get(path).headers["ETag"]
    answer = begin_waiting(app, path, "wait=1", If_None_Match=etag)
    response = answer.get()

    assert response.status_code == 304
    assert response.headers["ETag"] == etag
    assert response.headers["Retry-After"] == "0"
    assert 0.9 < answer.seconds < NOT_LONG


def test_progress_ends_a_wait_but_not_more_often_than_twice_a_second(
    app, gate
):
    path = begin(app, "report_at", "gate", "first", "second")
    gate.wait_for_job()
    scheduler = app.app.registry.getUtility(IScheduler)
    etag = app.get(path).headers["ETag"]
    answer = begin_waiting(app, path, If_None_Match=etag)
    sid = path.rpartition("/")[2]
    for done in count(3):
        report(scheduler, sid, Progress(done=done))
        answer.join(0.01)
        if answer.has_come:
            break
    response = answer.get()

    assert response.json["progress"]["done"] > 2
    assert 0.45 < answer.seconds < NOT_LONG


def report(scheduler, sid, progress):
    """Tell of the progress of a job that runs here, as the job would."""
    if not hasattr(scheduler, "process"):
        job = scheduler.jobs.table._jobs.get(sid)
        scheduler.jobs.table.report(job, job.run_number, progress)
    else:
        held = scheduler.process.assigned_jobs
        held.report(held.get(sid), progress)


def test_of_a_short_job_only_the_end_is_told(app, gate):
    """That it began ends no wait, or not before half a second has passed."""

    def is_told_of_the_end():
        shop.gates["gate"] = gate = shop.Gate()
        for _ in range(2):  # as many as run at a time
            begin(app, "wait_at", "gate")
        path = begin(app, "give", "result")
        etag = app.get(path).headers["ETag"]
        answer = begin_waiting(app, path, If_None_Match=etag)
        gate.open()
        return answer.get().json.get("result") == "result"

    shop.at_last(is_told_of_the_end)


def test_that_a_longer_job_began_is_told_in_half_a_second(app, gate):
    for _ in range(2):  # as many as run at a time
        begin(app, "wait_at", "gate")
    shop.gates["own"] = own = shop.Gate()
    path = begin(app, "wait_at", "own")
    etag = app.get(path).headers["ETag"]
    answer = begin_waiting(app, path, If_None_Match=etag)
    gate.open()
    response = answer.get()
    own.open()

    assert response.json["state"] == "running"
    assert 0.4 < answer.seconds < NOT_LONG


def test_what_the_client_does_not_know_is_told_at_once(app, gate):
    path = begin(app, "wait_at", "gate")
    gate.wait_for_job()
    headers = {"Prefer": LONG, "If-None-Match": '"rubbish"'}
    answer = shop.Answer(app.get, path, headers=headers)
    response = answer.get()

    assert response.json["state"] == "running"
    assert response.headers["Preference-Applied"] == LONG
    assert response.headers["Retry-After"] == "1"
    assert answer.seconds < NOT_LONG


@pytest.mark.parametrize("path", ["/jobs/unknown", "/jobs?sid=unknown"])
def test_nobody_waits_for_a_job_that_is_unknown(app, path):
    answer = shop.Answer(app.get, path, headers={"Prefer": LONG}, status="*")

    assert answer.get().status_code in {200, 404}
    assert answer.seconds < NOT_LONG


def test_nobody_waits_for_a_job_that_has_ended(app):
    path = begin(app, "give", "result")
    wait_for(app, path.rpartition("/")[2])
    answer = shop.Answer(app.get, path, headers={"Prefer": LONG})

    assert answer.get().json["result"] == "result"
    assert answer.seconds < NOT_LONG


def test_of_several_jobs_the_first_that_changes_ends_the_wait(app, gate):
    slow = begin(app, "wait_at", "gate").rpartition("/")[2]
    gate.wait_for_job()
    shop.gates["other"] = other = shop.Gate()
    quick = begin(app, "wait_at", "other").rpartition("/")[2]
    other.wait_for_job()
    answer = begin_waiting(app, f"/jobs?sid={slow}&sid={quick}&sid=unknown")
    other.open()
    jobs = answer.get().json["jobs"]

    assert [job["sid"] for job in jobs] == [slow, quick, "unknown"]
    assert [job.get("done") for job in jobs] == [False, True, None]
    assert answer.seconds < NOT_LONG


def test_a_cancel_ends_the_wait(app, gate):
    path = begin(app, "wait_at", "gate")
    gate.wait_for_job()
    answer = begin_waiting(app, path)
    app.delete(path, status=202)

    assert answer.get().json["state"] == "cancelled"


def test_a_removed_job_ends_the_wait(app, gate):
    path = begin(app, "wait_at", "gate")
    gate.wait_for_job()
    sid = path.rpartition("/")[2]
    answer = begin_waiting(app, path)
    transaction.begin()
    app.app.registry.getUtility(IScheduler).remove(sid)
    transaction.commit()

    with pytest.raises(Exception, match="404"):
        answer.get()


def test_no_more_requests_wait_than_may(make_app, gate):
    app = make_app(
        VIEWS, zodb_async__max_waiting="2", zodb_async__max_wait=PATIENCE
    )
    path = begin(app, "wait_at", "gate")
    gate.wait_for_job()
    other = begin(app, "wait_at", "gate")
    first = begin_waiting(app, path)
    second = begin_waiting(app, other)
    third = app.get(path, headers={"Prefer": LONG})
    assert third.json["state"] == "running"
    assert "Preference-Applied" not in third.headers
    assert third.headers["Retry-After"] == "1"
    assert not first.has_come
    assert not second.has_come
    gate.open()

    assert first.get().json["done"]
    assert second.get().json["done"]
    again = app.get(path, headers={"Prefer": LONG})
    assert again.headers["Preference-Applied"] == LONG


def test_waiting_can_be_switched_off(make_app, gate):
    app = make_app(VIEWS, zodb_async__max_waiting="0")
    path = begin(app, "wait_at", "gate")
    response = app.get(path, headers={"Prefer": LONG})

    assert "Preference-Applied" not in response.headers


def test_nobody_waits_longer_than_allowed(make_app, gate):
    app = make_app(VIEWS, zodb_async__max_wait="1")
    path = begin(app, "wait_at", "gate")
    answer = shop.Answer(app.get, path, headers={"Prefer": "wait=3600"})

    assert answer.get().headers["Preference-Applied"] == "wait=1"
    assert answer.seconds < NOT_LONG


@pytest.mark.parametrize(
    "preference",
    [
        "wait",
        "wait=",
        "wait=-1",
        "wait=0",
        "wait=1.5",
        "wait=ten",
        "wait =",
        "await=10",
        "respond-async",
        "=,;=,,",
        'wait="10',
        "\x00\xff",
        "wait=10 seconds",
    ],
)
def test_rubbish_is_no_preference(app, gate, preference):
    path = begin(app, "wait_at", "gate")
    answer = shop.Answer(app.get, path, headers={"Prefer": preference})

    assert answer.get().json["done"] is False
    assert "Preference-Applied" not in answer.get().headers
    assert answer.seconds < NOT_LONG


@pytest.mark.parametrize(
    "preference",
    [
        "wait=1",
        "Wait=1",
        'wait="1"',
        " wait = 1 ",
        "respond-async, wait=1",
        "wait=1; foo=bar",
        "wait=1,wait=10",
        "handling=lenient, wait=1, respond-async",
    ],
)
def test_the_preference_is_found_among_others(app, gate, preference):
    path = begin(app, "wait_at", "gate")
    gate.open()
    wait_for(app, path.rpartition("/")[2])
    response = app.get(path, headers={"Prefer": preference})

    assert response.headers["Preference-Applied"] == "wait=1"


def test_a_wish_for_a_time_beyond_numbers_is_capped(app):
    path = begin(app, "give", "result")
    wait_for(app, path.rpartition("/")[2])
    response = app.get(path, headers={"Prefer": f"wait={'9' * 5000}"})

    assert response.headers["Preference-Applied"] == LONG


def test_only_get_waits_and_only_for_jobs(app, gate):
    path = begin(app, "wait_at", "gate")
    headers = {"Prefer": LONG}
    answers = [
        app.head(path, headers=headers),
        app.get("/page", headers=headers),
        app.get("/nowhere", headers=headers, status=404),
        app.get("/jobs/%ff", headers=headers, status=404),
        app.options(path, headers=headers),
    ]

    assert not any("Preference-Applied" in each.headers for each in answers)


@pytest.mark.parametrize("includes", [None, shop.WITHOUT_RETRY])
def test_who_waits_has_no_transaction_and_no_connection(
    make_app, manager, gate, includes, kept_in
):
    options = {"includes": includes} if includes else {}
    app = make_app(VIEWS, **options, **manager, zodb_async__max_wait=PATIENCE)
    path = begin(app, "wait_at", "gate")
    gate.wait_for_job()
    db = databases_of(app.app.registry)[""]
    answer = begin_waiting(app, path)
    # that of the job; the housekeeper may have one for a moment
    usual = {"memory": 0, "zodb": 1}[kept_in]
    shop.wait_until(lambda: shop.count_open(db) == usual)
    assert not answer.has_come
    assert not has_transaction(transaction.manager)
    gate.open()

    assert answer.get().json["done"]
    shop.wait_until(lambda: shop.count_open(db) == 0)


def test_a_client_that_has_gone_holds_no_thread(app, gate):
    path = begin(app, "wait_at", "gate")
    gate.wait_for_job()
    environ = {"waitress.client_disconnected": lambda: True}
    answer = shop.Answer(
        app.get, path, headers={"Prefer": LONG}, extra_environ=environ
    )

    assert answer.get().json["done"] is False
    assert answer.seconds < NOT_LONG


def test_an_error_of_the_view_ends_the_watch(make_app, gate):
    class BadPolicy(shop.HeaderPolicy):
        is_bad = False

        def authenticated_userid(self, request):
            if self.is_bad:
                raise ZeroDivisionError
            return "ann"

    def configure(config):
        config.set_security_policy(policy)

    policy = BadPolicy()
    app = make_app(VIEWS, configure=configure)
    path = begin(app, "wait_at", "gate")
    gate.wait_for_job()
    policy.is_bad = True
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            app.get(path, headers={"Prefer": LONG})

    assert not app.app.registry.getUtility(IScheduler).waiters


def maintenance_factory(handler, registry):
    """A tween of an application that answers by itself."""

    def maintenance_tween(request):
        if request.path.startswith("/jobs/"):
            return Response("later", status=503)
        return handler(request)

    return maintenance_tween


def test_the_application_may_answer_in_the_place_of_the_view(make_app):
    app = make_app(
        VIEWS,
        configure=lambda config: config.add_tween(
            "test_long_polling.maintenance_factory",
            under="pyramid_tm.tm_tween_factory",
        ),
    )
    answer = app.get("/jobs/unknown", headers={"Prefer": LONG}, status=503)

    assert answer.text == "later"
    assert "Preference-Applied" not in answer.headers


@pytest.fixture
def serve():
    """Serve applications with waitress, by one thread."""
    servers = []

    def start_server(app):
        servers.append(
            StopableWSGIServer.create(app, threads=1, port=free_port())
        )
        return servers[-1].effective_port

    yield start_server
    for server in servers:
        server.shutdown()


def test_the_thread_of_a_client_that_has_gone_is_free_after_its_wait(
    make_app, serve, gate
):
    app = make_app(VIEWS, zodb_async__max_wait="2")
    path = begin(app, "wait_at", "gate")
    gate.wait_for_job()
    port = serve(app.app)
    scheduler = app.app.registry.getUtility(IScheduler)
    with socket.create_connection(("127.0.0.1", port)) as client:
        request = (
            f"GET {path} HTTP/1.1\r\nHost: shop\r\nPrefer: wait=60\r\n\r\n"
        )
        client.sendall(request.encode())
        shop.wait_until(lambda: scheduler.waiters)
    gone_at = time.monotonic()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/page") as answer:
        assert answer.status == 200

    assert time.monotonic() - gone_at < NOT_LONG
    assert not scheduler.waiters


def test_a_client_that_has_missed_progress_hears_of_the_end_at_once(app, gate):
    """It is not answered before, as the job tells of much more of it."""

    def is_told_of_the_end():
        shop.gates["gate"] = gate = shop.Gate()
        path = begin(app, "report_at", "gate", "first", "second")
        gate.wait_for_job()
        answer = begin_waiting(app, path, If_None_Match='"1"')
        gate.open()
        # of the progress, if that took half a second
        return answer.get().json.get("result") == "went on"

    shop.at_last(is_told_of_the_end)


def test_a_client_that_has_missed_progress_hears_of_it_in_half_a_second(
    app, gate
):
    path = begin(app, "report_at", "gate", "first", "second")
    gate.wait_for_job()
    answer = begin_waiting(app, path, If_None_Match='"1"')
    response = answer.get()

    assert response.json["progress"]["message"] == "second"
    assert response.headers["Retry-After"] == "0"
    assert 0.4 < answer.seconds < NOT_LONG
