"""What holds for many jobs at once, on every scheduler and storage."""

import pytest
import shop
import transaction
from pyramid.response import Response
from storages import everywhere, on_lasting_storages
from test_contract import forget

from pyramid_zodb_async import ArgumentNotTransferable, JobState
from pyramid_zodb_async.testing import drain, scheduled, wait_for


def start(request):
    """Schedule many jobs, each of which leaves a word."""
    words = request.params.getall("word")
    sids = request.schedule.many(shop.add, ((word,) for word in words))
    return Response(json=list(sids))


def start_and_fail(request):
    start(request)
    raise ZeroDivisionError


def start_and_roll_back(request):
    savepoint = request.tm.savepoint()
    start(request)
    savepoint.rollback()
    shop.history(request).append("kept")
    return Response("done")


VIEWS = {
    "/start": start,
    "/start-and-fail": start_and_fail,
    "/start-and-roll-back": start_and_roll_back,
}

WORDS = [f"word{number}" for number in range(20)]
PARAMS = [("word", word) for word in WORDS]


@everywhere
def test_each_call_is_a_job_after_the_commit(make_app):
    app = make_app(VIEWS)
    sids = app.post("/start", PARAMS).json
    drain(app)

    assert len(set(sids)) == 20
    assert sorted(shop.effects(app)) == sorted(WORDS)
    assert {wait_for(app, sid).state for sid in sids} == {JobState.SUCCEEDED}
    assert app.get(f"/jobs/{sids[7]}").json["result"] == 1


@everywhere
def test_what_was_not_committed_is_no_job(make_app):
    app = make_app(VIEWS)
    with pytest.raises(ZeroDivisionError):
        app.post("/start-and-fail", PARAMS)
    app.post("/start-and-roll-back", PARAMS)
    drain(app)

    assert shop.effects(app) == ["kept"]


class Unlucky(Exception):
    """What the calls of a test raise."""


def calls_that_raise():
    yield from zip(WORDS, strict=True)
    raise Unlucky


REFUSED = {
    "what no job can get": (
        lambda: [("word",), (lambda: 0,)],
        ArgumentNotTransferable,
    ),
    "what does not fit": (lambda: [("word",), ((), {"no": 1})], TypeError),
    "no call": (lambda: [("word",), "word"], TypeError),
    "an error of the calls": (calls_that_raise, Unlucky),
}


@everywhere
@pytest.mark.parametrize("case", REFUSED)
def test_after_an_error_nothing_is_scheduled_though_it_is_caught(
    make_app, case
):
    make_calls, error = REFUSED[case]

    def start(request):
        request.schedule(shop.add, "before")
        with pytest.raises(error):
            request.schedule.many(shop.add, make_calls())
        request.schedule(shop.add, "after")
        shop.history(request).append("of the request")
        return Response("done")

    app = make_app({"/start": start}, zodb_async__engine="manual")
    app.post("/start")

    assert len(scheduled(app)) == 2
    drain(app)
    assert shop.effects(app) == ["of the request", "before", "after"]


@everywhere
def test_persistent_objects_travel_new_ones_too(make_app):
    def start(request):
        root = shop.root(request)
        root["list"] = shop.PersistentList()
        calls = ((root["list"], number) for number in range(5))
        return Response(json=list(request.schedule.many(append, calls)))

    app = make_app({"/start": start})
    app.post("/start")
    drain(app)

    assert sorted(read(app, "list")) == [0, 1, 2, 3, 4]


@pytest.mark.kept_in("memory")
def test_a_call_that_is_refused_in_the_commit_is_named(make_app):
    def start(request):
        stored = shop.root(request)["list"] = shop.PersistentList()
        calls = ((value, 1) for value in (stored, shop.PersistentList()))
        return Response(json=list(request.schedule.many(append, calls)))

    with pytest.raises(ArgumentNotTransferable, match=r"^call 1: Argument 1"):
        make_app({"/start": start}).post("/start")


def append(values, value):
    """Append to a persistent list."""
    values.append(value)


def read(app, name):
    """Give what is in a list of the root, seen from outside."""
    manager = transaction.TransactionManager(explicit=True)
    connection = shop.databases_of(app.app.registry)[""].open(manager)
    with manager:
        found = list(connection.root()[name])
    connection.close()
    return found


@on_lasting_storages
def test_jobs_of_a_bulk_survive_a_restart(make_app):
    app = make_app(VIEWS, zodb_async__engine="manual", zodb_async__lease=0.3)
    sids = app.post("/start", PARAMS).json
    # as if the process had been killed: nothing more is written by it
    forget(app)
    successor = make_app(VIEWS, zodb_async__lease=0.3)
    successor.get("/jobs/unknown", status=404)  # it serves
    drain(successor)

    assert sorted(shop.effects(successor)) == sorted(WORDS)
    for sid in sids:
        assert wait_for(successor, sid).state is JobState.SUCCEEDED
