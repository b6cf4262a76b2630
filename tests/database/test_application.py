"""The connections of a request, and of a job's own request."""

import pytest
import shop
import transaction
from pyramid.exceptions import ConfigurationError
from pyramid.response import Response
from pyramid_zodbconn import get_connection

from pyramid_zodb_async import JobNotLoadable, PersistentContext
from pyramid_zodb_async.database.application import (
    RequestConnections,
    connections_of,
    databases_of,
    share_connections,
)
from pyramid_zodb_async.testing import drain, wait_for

pytestmark = pytest.mark.kept_in("memory", "zodb")


def read(context):
    """Read from a context whose database the application does not have."""
    return context[0]


def test_a_job_reaches_only_the_databases_of_its_application(
    make_app, manager, engine, connection
):
    def view(request):
        return request.accepted(request.schedule(read, context))

    connection.root()["product"] = shop.Product("stranger")
    transaction.commit()
    context = PersistentContext(connection.root()["product"])
    app = make_app({"/view": view}, **manager, **engine)
    sid = app.get("/view").json["sid"]
    drain(app)
    failure = wait_for(app, sid).failure

    assert failure.type == "JobNotLoadable"
    assert "'unnamed' is none that" in failure.message


def test_a_request_gives_its_own_connections(make_app, manager, tmp_path, db):
    def view(request):
        connections = RequestConnections(request)
        main = get_connection(request)
        other = get_connection(request, "other")
        assert connections.transaction_manager is request.tm
        assert connections.to(main.db()) is main
        assert connections.to(other.db()) is other
        assert connections.own(main)
        assert connections.own(other)
        with pytest.raises(JobNotLoadable):
            connections.to(db)
        return Response("done")

    other = {"zodbconn.uri.other": f"file://{tmp_path}/Other.fs"}
    make_app({"/view": view}, **manager, **other).get("/view")


@pytest.mark.parametrize("opens", [True, False])
def test_a_result_is_not_loaded_when_its_request_is_over(
    make_app, manager, opens
):
    views = []

    def schedule(request):
        shop.root(request)["product"] = product = shop.Product("book")
        return request.accepted(request.schedule(shop.give, product))

    def keep(request):
        if opens:
            get_connection(request)
        views.append(request.jobs.get(request.params["sid"]))
        return Response("kept")

    app = make_app({"/schedule": schedule, "/keep": keep}, **manager)
    sid = app.get("/schedule").json["sid"]
    drain(app)
    app.get("/keep", {"sid": sid})

    with pytest.raises(JobNotLoadable, match="is over; ask"):
        _ = views[0].result
    db = databases_of(app.app.registry)[""]
    # the maintenance has one now and then
    shop.wait_until(lambda: shop.count_open(db) == 0)


def test_a_request_that_is_over_owns_no_connection(make_app, manager):
    kept = []

    def view(request):
        jar = get_connection(request)
        kept.append((RequestConnections(request), jar))
        return Response("done")

    make_app({"/view": view}, **manager).get("/view")

    for connections, jar in kept:
        assert not connections.own(jar)


@pytest.mark.kept_in("zodb")
def test_jobs_may_be_in_a_database_with_a_name(make_app, manager, tmp_path):
    def view(request):
        return request.accepted(request.schedule(shop.give, "outcome"))

    def tell(request):
        names = [None, "jobs"]
        return {
            "kept in": [
                "pyramid_zodb_async" in get_connection(request, name).root()
                for name in names
            ]
        }

    def configure(config):
        config.add_route("/tell", "/tell")
        config.add_view(tell, route_name="/tell", renderer="json")

    app = make_app(
        {"/view": view},
        configure=configure,
        zodbconn__uri__jobs=f"file://{tmp_path}/Jobs.fs",
        zodb_async__database="jobs",
        **manager,
    )
    sid = app.get("/view").json["sid"]

    assert wait_for(app, sid).result == "outcome"
    assert app.get("/tell").json == {"kept in": [False, True]}


@pytest.mark.kept_in("zodb")
def test_jobs_in_a_database_need_pyramid_zodbconn(make_app):
    def view(request):
        request.schedule(shop.nothing)

    app = make_app(
        {"/view": view},
        includes=["pyramid_tm", "pyramid_zodb_async"],
        zodbconn__uri="memory://",
    )
    with pytest.raises(ConfigurationError, match="pyramid_zodbconn'"):
        app.get("/view")


def test_a_request_that_shares_connections_opens_none(make_app, kept_in):
    shared = []

    def view(request):
        other = request.copy()
        other.registry = request.registry
        share_connections(request, other)
        shared.append(get_connection(other) is get_connection(request))
        shared.append(connections_of(other) == connections_of(request))
        shared.append(len(other.finished_callbacks))
        return Response("shared")

    make_app({"/view": view}).get("/view")

    # the one that has opened it closes it
    assert shared == [True, True, 0]
