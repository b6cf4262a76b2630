"""A pool that is too small is warned of, with what to set."""

import logging
from types import SimpleNamespace

import pytest
from pyramid.response import Response

from pyramid_zodb_async.database.application import databases_of
from pyramid_zodb_async.database.pool_sizes import check_pools
from pyramid_zodb_async.settings import ISettings, parse_settings

pytestmark = pytest.mark.kept_in("zodb")


def warnings(caplog):
    return [
        record.getMessage()
        for record in caplog.records
        if getattr(record, "action", "") == "pool_too_small"
    ]


def serve(make_app, **settings):
    """Start an application, and ask it twice."""
    app = make_app({"/view": lambda request: Response("done")}, **settings)
    app.get("/view")
    app.get("/view")
    return app


def test_the_default_pool_is_enough_for_the_default_threads(
    make_app, caplog, tmp_path
):
    serve(make_app, zodbconn__uri=f"file://{tmp_path}/Data.fs")

    assert warnings(caplog) == []


def test_a_pool_without_room_for_the_workers_is_warned_of_once(
    make_app, caplog, tmp_path
):
    uri = f"file://{tmp_path}/Data.fs?connection_pool_size=7&quota=1000000"
    serve(make_app, zodbconn__uri=uri, zodb_async__workers="3")

    (warning,) = warnings(caplog)
    assert "room for 7 connections" in warning
    assert (
        f"zodbconn.uri = file://{tmp_path}/Data.fs"
        "?quota=1000000&connection_pool_size=8"
    ) in warning


def test_the_uri_of_the_warning_cures_it(make_app, caplog, tmp_path):
    uri = f"file://{tmp_path}/Data.fs"
    app = serve(make_app, zodbconn__uri=uri, zodb_async__workers="9")
    (warning,) = warnings(caplog)
    cure = warning.rpartition("zodbconn.uri = ")[2].removesuffix(".")
    for db in databases_of(app.app.registry).values():
        db.close()
    caplog.clear()
    serve(make_app, zodbconn__uri=cure, zodb_async__workers="9")

    assert cure == f"{uri}?connection_pool_size=14"
    assert warnings(caplog) == []


def test_the_threads_of_the_server_count(make_app, caplog, tmp_path):
    uri = f"file://{tmp_path}/Data.fs?connection_pool_size=20"
    serve(make_app, zodbconn__uri=uri, zodb_async__server_threads="32")

    (warning,) = warnings(caplog)
    assert "connection_pool_size=35" in warning


def test_each_database_is_told_of_by_its_own_setting(
    make_app, caplog, tmp_path
):
    serve(
        make_app,
        zodbconn__uri=f"file://{tmp_path}/Data.fs?connection_pool_size=20",
        zodbconn__uri__stock=f"file://{tmp_path}/Stock.fs",
        zodb_async__workers="4",
    )

    (warning,) = warnings(caplog)
    assert "zodbconn.uri.stock = file://" in warning


def test_a_database_of_a_zconfig_file_is_cured_there(
    make_app, caplog, tmp_path
):
    config = tmp_path / "zodb.conf"
    config.write_text("<zodb main>\n<mappingstorage/>\n</zodb>\n")
    uri = f"zconfig://{config}#main"
    serve(make_app, zodbconn__uri=uri, zodb_async__workers="4")

    (warning,) = warnings(caplog)
    assert f"'pool-size 9' in the file that zodbconn.uri = {uri}" in warning


def test_the_password_of_a_uri_is_not_logged(caplog):
    registry = registry_with(
        {"zodbconn.uri": "postgres://shop:secret@db.example:5432/shop"}
    )
    check_pools(registry, 4)

    (warning,) = warnings(caplog)
    assert "secret" not in warning
    assert (
        "zodbconn.uri = postgres://…@db.example:5432/shop"
        "?connection_pool_size=9"
    ) in warning


def test_a_database_that_no_uri_names_is_cured_where_it_is_made(caplog):
    registry = registry_with({"zodb_async.scheduler": "memory"})
    check_pools(registry, 4)

    (warning,) = warnings(caplog)
    assert "its pool_size to 9 where it is made" in warning


def registry_with(settings):
    """Give what is asked of a registry whose database has room for 7."""
    parsed = parse_settings(settings)
    return SimpleNamespace(
        settings=settings,
        _zodb_databases={"": SimpleNamespace(getPoolSize=lambda: 7)},
        getUtility={ISettings: parsed}.__getitem__,
    )


def test_without_a_database_there_is_nothing_to_warn_of(caplog):
    registry = registry_with({"zodb_async.scheduler": "memory"})
    registry._zodb_databases = None
    with caplog.at_level(logging.WARNING):
        check_pools(registry, 40)

    assert warnings(caplog) == []
