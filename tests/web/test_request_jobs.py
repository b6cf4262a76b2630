"""What a request knows of jobs."""

import pytest
import shop
from pyramid.response import Response

from pyramid_zodb_async import JobState
from pyramid_zodb_async.testing import drain

pytestmark = pytest.mark.kept_in("memory", "zodb")


def schedule(request):
    return request.accepted(request.schedule(shop.add, "word"))


def test_a_request_knows_the_job_that_it_is_about_to_commit(make_app):
    def view(request):
        sid = request.schedule(shop.give, 1)
        view = request.jobs.get(sid)
        assert view.state is JobState.PENDING
        assert view.function == "shop:give"
        assert request.jobs.completed(sid) is False
        assert request.jobs.get_result(sid) is False
        return Response(sid)

    app = make_app({"/view": view})
    app.get("/view")


def test_others_know_nothing_of_a_job_before_its_commit(make_app):
    sids = []

    def view(request):
        sids.append(request.schedule(shop.give, 1))
        app.get(f"/jobs/{sids[0]}", status=404)
        return Response("done")

    # an implicit manager is one for both requests, as both are in one thread
    explicit = {"tm.manager_hook": "pyramid_tm.explicit_manager"}
    app = make_app({"/view": view}, **explicit)
    app.get("/view")
    app.get(f"/jobs/{sids[0]}", status=200)


def test_a_job_can_be_removed_before_its_commit(make_app, manager):
    def view(request):
        request.jobs.remove(request.schedule(shop.add, "never"))
        request.jobs.remove("unknown")
        request.schedule(shop.add, "kept")
        return Response("done")

    app = make_app({"/view": view}, **manager)
    app.get("/view")
    drain(app)

    assert shop.effects(app) == ["kept"]


def test_jobs_are_known_by_their_state(make_app):
    def view(request):
        jobs = request.jobs
        sid = request.params["sid"]
        return Response(f"{jobs.completed(sid)} {jobs.completed('unknown')}")

    app = make_app({"/start": schedule, "/view": view})
    sid = app.get("/start").json["sid"]
    drain(app)

    assert app.get("/view", {"sid": sid}).text == "True None"


@pytest.mark.kept_in("memory")
def test_jobs_answer_without_pyramid_tm(make_app):
    app = make_app(includes=["pyramid_zodb_async"])

    app.get("/jobs/unknown", status=404)


def test_an_aborted_request_keeps_the_outcome_that_it_fetched(
    make_app, manager
):
    def fetch(request):
        outcome = request.jobs.get_result(request.params["sid"])
        if "abort" in request.params:
            request.tm.doom()
        return Response(repr(outcome))

    app = make_app({"/start": schedule, "/fetch": fetch}, **manager)
    sid = app.get("/start").json["sid"]
    drain(app)

    params = {"sid": sid, "abort": "1"}
    assert app.get("/fetch", params).text == "(1, None)"
    assert app.get("/fetch", {"sid": sid}).text == "(1, None)"
    assert app.get("/fetch", {"sid": sid}).text == "None"
