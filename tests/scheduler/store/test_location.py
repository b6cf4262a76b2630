"""Where the store is: several applications can share a database."""

import logging

import pytest
import shop
import storages
from ZODB.DB import DB
from ZODB.MappingStorage import MappingStorage
from ZODB.utils import load_current, u64, z64
from zodburi import resolve_uri

from pyramid_zodb_async import IScheduler, StoreNotUsable
from pyramid_zodb_async.database.application import databases_of
from pyramid_zodb_async.scheduler.records import FORMAT
from pyramid_zodb_async.scheduler.store.location import (
    RootLocation,
)
from pyramid_zodb_async.settings import DEFAULT_STORE
from pyramid_zodb_async.testing import drain, wait_for

on_one_database = pytest.mark.parametrize(
    ("kept_in", "storage"), [("zodb", "sqlite"), ("zodb", "zeo")]
)
on_a_file = pytest.mark.kept_in("zodb")


def start(request):
    return request.accepted(request.schedule(shop.give, "outcome"))


def wait(request):
    """Schedule a job that nobody runs for a long time."""
    later = request.schedule.with_options(delay=1e6)
    return request.accepted(later(shop.give, "outcome"))


VIEWS = {"/start": start, "/wait": wait}


def unfinished(app):
    return app.app.registry.getUtility(IScheduler).unfinished()


def told(caplog):
    return [
        (record.levelname, record.store)
        for record in caplog.records
        if getattr(record, "action", "").startswith("other_store")
    ]


@on_one_database
def test_two_applications_in_one_process_have_jobs_of_their_own(make_app):
    site = make_app(VIEWS)
    admin = make_app(VIEWS, zodb_async__store="admin", zodb_async__lease="1")
    path = "/jobs/" + site.get("/wait").json["sid"]
    other = "/jobs/" + admin.get("/start").json["sid"]
    drain(admin)

    assert admin.get(other).json["result"] == "outcome"
    assert unfinished(admin) == []
    assert [path.rpartition("/")[2]] == unfinished(site)
    admin.get(path, status=404)
    admin.delete(path, status=404)
    site.get(other, status=404)


@on_a_file
def test_stores_of_one_name_in_two_databases_have_nothing_in_common(make_app):
    apps = [make_app(VIEWS, zodb_async__store="jobs") for _ in range(2)]
    sids = [app.get("/start").json["sid"] for app in apps]
    for app, sid in zip(apps, sids, strict=True):
        assert wait_for(app, sid).result == "outcome"
    apps[0].get(f"/jobs/{sids[1]}", status=404)


@on_a_file
def test_one_application_may_have_its_jobs_in_a_store_of_a_named_database(
    make_app, tmp_path
):
    app = make_app(
        VIEWS,
        zodbconn__uri__b=f"file://{tmp_path}/b.fs?connection_pool_size=20",
        zodb_async__database="b",
        zodb_async__store="jobs.of-b",
    )
    sid = app.get("/start").json["sid"]
    assert wait_for(app, sid).result == "outcome"
    keys = {}
    for name, db in databases_of(app.app.registry).items():
        with db.transaction() as connection:
            keys[name] = sorted(connection.root())

    assert keys == {"": [], "b": ["jobs.of-b"]}


# -- When the setting is changed ----------------------------------------------


@on_one_database
def test_who_changes_the_setting_is_told_of_the_jobs_that_are_left(
    make_app, caplog
):
    caplog.set_level(logging.INFO)
    before = make_app(VIEWS)
    before.get("/wait")
    (sid,) = unfinished(before)
    shop.shut_down(before.app.registry)
    assert told(caplog) == []
    after = make_app(VIEWS, zodb_async__store="admin")
    after.get("/start")
    drain(after)

    assert told(caplog) == [("WARNING", DEFAULT_STORE)]
    assert f"start this one with zodb_async.store = {DEFAULT_STORE}" in (
        caplog.text
    )
    assert "of the store 'admin' in the database '', which is new" in (
        caplog.text
    )
    caplog.clear()
    make_app(VIEWS, zodb_async__store="admin").get("/start")
    assert told(caplog) == [("INFO", DEFAULT_STORE)]
    caplog.clear()
    back = make_app(VIEWS)
    back.get(f"/jobs/{sid}", status=200)
    assert unfinished(back) == [sid]
    assert told(caplog) == []


@on_a_file
def test_a_store_beside_in_which_all_jobs_have_ended_is_not_told_of(
    make_app, caplog, tmp_path
):
    caplog.set_level(logging.INFO)
    uri = f"file://{tmp_path}/one.fs?connection_pool_size=20"
    before = make_app(VIEWS, zodbconn__uri=uri)
    before.get("/start")
    drain(before)
    shop.shut_down(before.app.registry)
    make_app(VIEWS, zodbconn__uri=uri, zodb_async__store="admin").get("/start")

    assert told(caplog) == []


@on_a_file
@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (
            lambda store: store._p_jar.root().update(other=store),
            [("WARNING", "other"), ("WARNING", DEFAULT_STORE)],
        ),
        (lambda store: setattr(store, "format", FORMAT + 1), []),
        (
            lambda store: delattr(store, "slices"),
            [("ERROR", DEFAULT_STORE)],
        ),
    ],
    ids=["two of them", "of a later format", "damaged"],
)
def test_whatever_other_stores_there_are_a_process_runs_its_jobs(
    make_app, caplog, damage, expected, tmp_path
):
    caplog.set_level(logging.INFO)
    uri = f"file://{tmp_path}/one.fs?connection_pool_size=20"
    before = make_app(VIEWS, zodbconn__uri=uri)
    before.get("/wait")
    (db,) = databases_of(before.app.registry).values()
    before.app.registry.getUtility(IScheduler).stop()
    with db.transaction() as connection:
        damage(connection.root()[DEFAULT_STORE])
    shop.shut_down(before.app.registry)
    app = make_app(VIEWS, zodbconn__uri=uri, zodb_async__store="admin")
    sid = app.get("/start").json["sid"]

    assert wait_for(app, sid).result == "outcome"
    assert sorted(told(caplog)) == sorted(expected)


@on_a_file
def test_a_key_that_the_application_uses_is_named_with_the_database(
    make_app, tmp_path
):
    app = make_app(
        VIEWS,
        zodbconn__uri__b=f"file://{tmp_path}/b.fs?connection_pool_size=20",
        zodb_async__database="b",
        zodb_async__store="products",
    )
    with databases_of(app.app.registry)["b"].transaction() as connection:
        connection.root()["products"] = shop.Product("ours")
    with pytest.raises(
        StoreNotUsable,
        match=r"root\(\)\['products'\] of the database 'b' is no store of"
        r" jobs, but a Product;.* zodb_async\.store",
    ):
        app.get("/start")


# -- A database that cannot be written ----------------------------------------


def give_root(cursor, uri):
    """Put a root into tables of RelStorage, which cannot write them itself."""
    make_storage, _ = resolve_uri(uri)
    make_storage().close()
    state, tid = load_current(DB(MappingStorage()).storage, z64)
    cursor.execute(
        "INSERT INTO object_state (zoid, tid, state_size, state)"
        " VALUES (0, %s, %s, %s)",
        (u64(tid), len(state), state),
    )


@on_a_file
@pytest.mark.filterwarnings("ignore:'(db|passwd)' is deprecated")
def test_a_database_of_mariadb_is_refused_in_so_many_words(make_app, caplog):
    with storages.mariadb() as (cursor, uri):
        give_root(cursor, uri)
        app = make_app({"/read": shop.root}, zodbconn__uri=uri)
        scheduler = app.app.registry.getUtility(IScheduler)
        for _ in range(2):
            app.get("/jobs/unknown", status=404)
        shop.shut_down(app.app.registry)

    assert not scheduler.runs_jobs
    assert caplog.text.count("This process runs no jobs.") == 1
    assert "RelStorage does not work with MariaDB" in caplog.text


class Unwritable(MappingStorage):
    """A storage that does not take changes any more, for some reason."""

    reason = None

    def tpc_vote(self, transaction):
        if self.reason:
            raise OSError(self.reason)
        return super().tpc_vote(transaction)


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        ("the manual of your MariaDB server version", StoreNotUsable),
        ("no space left", OSError),
    ],
)
def test_a_store_that_cannot_be_made_is_told_of_with_the_reason(reason, error):
    db = DB(Unwritable())
    db.storage.reason = reason
    with pytest.raises(error, match=r"MariaDB|no space left"):
        RootLocation(lambda: db).prepare(lambda store: None)


def test_the_store_of_an_application_is_never_gone(process):
    """Who needs it makes it again."""
    assert not process.location.is_gone()
