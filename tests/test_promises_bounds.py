"""Promise 9: everything is bounded."""

import itertools
import re
import threading

import pytest
import shop
from pyramid.response import Response

from pyramid_zodb_async import BulkTooLarge, IScheduler
from pyramid_zodb_async.database.application import databases_of
from pyramid_zodb_async.testing import drain, wait_for

pytestmark = pytest.mark.kept_in("memory", "zodb")


def threads_of_engines():
    """List the worker threads there are."""
    return [
        thread
        for thread in threading.enumerate()
        if re.match(r"zodb_async-(\d|inline)", thread.name)
    ]


def test_no_thread_is_started_before_the_first_job(make_app):
    app = make_app({"/view": lambda request: Response("done")})
    app.get("/view")

    assert threads_of_engines() == []


def test_there_are_never_more_threads_than_workers(make_app, manager):
    counts = []

    def view(request):
        for _ in range(50):
            request.schedule(shop.add, "word")
        return Response("done")

    app = make_app({"/view": view}, **manager, zodb_async__workers=3)
    for _ in range(5):
        app.get("/view")
        counts.append(len(threads_of_engines()))
    drain(app, timeout=60)
    counts.append(len(threads_of_engines()))

    assert max(counts) <= 3
    assert len(shop.effects(app)) == 250


def test_a_full_queue_refuses_with_503_and_when_to_come_back(
    make_app, manager, gate
):
    def block(request):
        return request.accepted(request.schedule(shop.wait_at, "gate"))

    def add(request):
        return request.accepted(request.schedule(shop.add, "word"))

    app = make_app(
        {"/block": block, "/add": add},
        **manager,
        zodb_async__workers=1,
        zodb_async__max_pending=2,
    )
    app.get("/block")
    gate.wait_for_job()
    app.get("/add", status=202)
    app.get("/add", status=202)
    refusal = app.get("/add", status=503)
    assert refusal.content_type == "application/problem+json"
    assert refusal.headers["Retry-After"] == "1"
    assert "2 jobs are waiting" in refusal.json["detail"]

    gate.open()
    drain(app)
    app.get("/add", status=202)
    drain(app)
    assert shop.effects(app) == ["word"] * 3


def test_the_jobs_of_a_transaction_count_before_its_commit(make_app, manager):
    def view(request):
        for _ in range(5):
            request.schedule(shop.add, "word")
        return Response("done")

    app = make_app({"/view": view}, **manager, zodb_async__max_pending=4)
    app.get("/view", status=503)
    drain(app)

    assert shop.effects(app) == []


def make_with_many(make_app, numbers, **settings):
    """Make an application that schedules so many jobs, then one more."""
    calls = iter(numbers)

    def many(request):
        request.schedule.many(shop.add, (("word",) for _ in next(calls)))
        return Response("done")

    def add(request):
        return request.accepted(request.schedule(shop.add, "single"))

    settings.setdefault("zodb_async__max_pending", 4)
    return make_app(
        {"/many": many, "/add": add}, **settings, zodb_async__max_bulk=10
    )


@pytest.mark.kept_in("memory")
def test_a_bulk_in_memory_has_the_room_that_single_jobs_have(
    make_app, manager
):
    numbers = [range(4), range(1), range(5), itertools.count()]
    app = make_with_many(
        make_app, numbers, **manager, zodb_async__engine="manual"
    )
    app.get("/many")
    app.get("/add", status=503)
    refusal = app.get("/many", status=503)
    assert refusal.headers["Retry-After"] == "1"
    assert "4 jobs are waiting" in refusal.json["detail"]
    drain(app)
    for _ in range(2):  # also if there is no end of calls
        refusal = app.get("/many", status=503)
        assert "0 jobs are waiting, and 5" in refusal.json["detail"]
    drain(app)

    assert shop.effects(app) == ["word"] * 4


@pytest.mark.kept_in("zodb")
def test_a_bulk_in_the_database_does_not_take_the_room_of_single_jobs(
    make_app, manager
):
    app = make_with_many(
        make_app,
        [range(10), range(10)],
        **manager,
        zodb_async__engine="manual",
    )
    app.get("/many")
    app.get("/many")
    for _ in range(4):
        app.get("/add", status=202)
    app.get("/add", status=503)
    drain(app)

    assert shop.effects(app).count("word") == 20
    assert shop.effects(app).count("single") == 4


def test_a_bulk_is_bounded_by_a_setting(make_app, manager):
    app = make_with_many(
        make_app, [range(11)], **manager, zodb_async__max_pending=100
    )
    with pytest.raises(BulkTooLarge, match=r"10 calls.*max_bulk"):
        app.get("/many")
    drain(app)

    assert shop.effects(app) == []


@pytest.mark.parametrize("give_back", ["abort", "savepoint"])
def test_jobs_that_will_not_be_give_their_room_back(
    make_app, manager, give_back
):
    def view(request):
        if give_back == "savepoint":
            savepoint = request.tm.savepoint()
        for _ in range(4):
            request.schedule(shop.add, "never")
        if give_back == "savepoint":
            savepoint.rollback()
        else:
            request.tm.abort()
            request.tm.begin()
        for _ in range(4):
            request.schedule(shop.add, "word")
        return Response("done")

    app = make_app({"/view": view}, **manager, zodb_async__max_pending=4)
    app.get("/view", status=200)
    drain(app)

    assert shop.effects(app) == ["word"] * 4


def test_outcomes_are_forgotten_when_their_time_has_come(
    make_app, manager, kept_in
):
    def view(request):
        return request.accepted(request.schedule(shop.give, "outcome"))

    app = make_app({"/view": view}, **manager, zodb_async__result_timeout=0.05)
    scheduler = app.app.registry.getUtility(IScheduler)
    sids = [app.get("/view").json["sid"] for _ in range(5)]
    drain(app)
    shop.wait_until(lambda: not any(map(scheduler.get, sids)))

    if kept_in == "memory":
        assert len(scheduler.jobs.table) == 0
    app.get(f"/jobs/{sids[0]}", status=404)


def test_an_unfinished_job_does_not_expire(make_app, manager, gate):
    def view(request):
        return request.accepted(request.schedule(shop.wait_at, "gate"))

    app = make_app({"/view": view}, **manager, zodb_async__result_timeout=0)
    sid = app.get("/view").json["sid"]
    gate.wait_for_job()

    assert app.get(f"/jobs/{sid}").json["state"] == "running"


def test_no_connection_stays_open(make_app, manager, engine):
    def view(request):
        product = shop.root(request)["product"] = shop.Product("product")
        request.schedule(shop.give, product)
        request.schedule(shop.fail)
        return Response("done")

    app = make_app({"/view": view}, **manager, **engine)
    for _ in range(10):
        app.get("/view")
    drain(app)

    db = databases_of(app.app.registry)[""]
    # the housekeeper may have one for a moment
    shop.wait_until(lambda: shop.count_open(db) == 0)


def test_a_fetched_outcome_is_forgotten(make_app, manager, kept_in):
    def start(request):
        return request.accepted(request.schedule(shop.give, "outcome"))

    def fetch(request):
        return Response(repr(request.jobs.get_result(request.params["sid"])))

    app = make_app({"/start": start, "/fetch": fetch}, **manager)
    sid = app.get("/start").json["sid"]
    wait_for(app, sid)

    assert app.get("/fetch", {"sid": sid}).text == "('outcome', None)"
    assert app.get("/fetch", {"sid": sid}).text == "None"
    if kept_in == "memory":
        assert len(app.app.registry.getUtility(IScheduler).jobs.table) == 0


def test_a_stopped_engine_leaves_no_thread(make_app):
    app = make_app(
        {"/view": lambda request: Response(request.schedule(shop.nothing))}
    )
    app.get("/view")
    drain(app)
    app.app.registry.getUtility(IScheduler).stop()

    assert threads_of_engines() == []


def test_jobs_count_while_another_hook_of_their_commit_takes_its_time(
    make_app, manager, gate
):
    """They are committed, and not handed to the engine yet."""
    answers = []

    def block(request):
        return request.accepted(request.schedule(shop.wait_at, "gate"))

    def add(request):
        for _ in range(2):
            request.schedule(shop.add, "word")
        return Response("done")

    def add_slowly(request):
        def ask_for_more(committed):
            answers.append(shop.in_thread(lambda: app.get("/add", status="*")))

        request.tm.get().addAfterCommitHook(ask_for_more)
        return add(request)

    app = make_app(
        {"/block": block, "/add": add, "/slow": add_slowly},
        **manager,
        zodb_async__workers=1,
        zodb_async__max_pending=2,
    )
    app.get("/block")
    gate.wait_for_job()
    app.get("/slow")
    (refusal,) = answers
    assert refusal.status_int == 503
    assert app.app.registry.getUtility(IScheduler).backlog() == 2

    gate.open()
    drain(app)
    assert shop.effects(app) == ["word"] * 2
    assert app.app.registry.getUtility(IScheduler).backlog() == 0
