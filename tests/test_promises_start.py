"""Promise 2: a job starts after the commit, and sees all of it."""

import threading

import pytest
import shop
from pyramid.response import Response

from pyramid_zodb_async.testing import drain, wait_for

pytestmark = pytest.mark.kept_in("memory", "zodb")


def read_name(product):
    """Tell what the job sees."""
    return product.name, dict(shop.root().get("facts", {}))


def test_a_job_sees_what_the_request_wrote_after_scheduling(
    make_app, manager, engine
):
    def view(request):
        product = shop.root(request)["product"] = shop.Product("early")
        sid = request.schedule(read_name, product)
        product.name = "late"
        shop.root(request)["facts"] = {"written": "last"}
        return request.accepted(sid)

    app = make_app({"/view": view}, **manager, **engine)
    sid = app.get("/view").json["sid"]
    drain(app)

    assert app.get(f"/jobs/{sid}").json["result"] == [
        "late",
        {"written": "last"},
    ]


def test_a_job_does_not_start_before_the_commit(make_app, manager, gate):
    started_early = []

    def look(request):
        sid = request.schedule(shop.wait_at, "gate")
        started_early.append(gate.entered.wait(0.2))
        request.tm.get().addBeforeCommitHook(
            lambda: started_early.append(gate.entered.is_set())
        )
        return Response(sid)

    app = make_app({"/view": look}, **manager)
    sid = app.get("/view").text

    assert started_early == [False, False]
    gate.wait_for_job()
    gate.open()
    assert wait_for(app, sid).done


def test_a_job_never_runs_on_the_thread_of_the_request(
    make_app, manager, engine
):
    def view(request):
        shop.history(request).append("request")
        return request.accepted(request.schedule(threading.get_ident))

    app = make_app({"/view": view}, **manager, **engine)
    sid = app.get("/view").json["sid"]
    drain(app)

    ident = app.get(f"/jobs/{sid}").json["result"]
    assert ident != threading.get_ident()
    assert shop.effects(app) == ["request"]


def schedule_more(word):
    """Schedule another job from within this one, and leave an effect."""
    request = shop.get_current_request()
    sid = request.schedule(shop.history_as_list)
    shop.add(word)
    return sid


def test_a_job_can_schedule_a_job_that_sees_its_effects(
    make_app, manager, engine
):
    def view(request):
        return request.accepted(request.schedule(schedule_more, "first"))

    app = make_app({"/view": view}, **manager, **engine)
    sid = app.get("/view").json["sid"]
    drain(app)

    inner = app.get(f"/jobs/{sid}").json["result"]
    assert app.get(f"/jobs/{inner}").json["result"] == ["first"]
