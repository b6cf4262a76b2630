"""A store of an earlier or a later version is carried on, or refused."""

import contextlib
import shutil
import subprocess
import sys

import pytest
import shop
import storages
import stored_jobs
import stored_shop
import transaction
from ports import answers, free_port
from pyramid.config import Configurator
from shop import scheduler_of
from stored_jobs import DATA, request_of
from test_bulks import VIEWS, begin, sales
from webtest import TestApp
from ZODB.DB import DB
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ConflictError

from pyramid_zodb_async import IScheduler, StoreNotUsable
from pyramid_zodb_async.scheduler import store_format
from pyramid_zodb_async.scheduler.maintenance import bulk_claims
from pyramid_zodb_async.scheduler.maintenance.expiry import SliceExpiry
from pyramid_zodb_async.scheduler.process import bulk_intake
from pyramid_zodb_async.scheduler.sids import split_sid
from pyramid_zodb_async.scheduler.store.location import RootLocation
from pyramid_zodb_async.settings import DEFAULT_STORE
from pyramid_zodb_async.testing import drain


@pytest.fixture
def old(tmp_path):
    """Give the path of a database of the first format."""
    path = tmp_path / "Data.fs"
    shutil.copy(DATA / "format_1.fs", path)
    return path


def scheduler_in(app):
    return app.registry.getUtility(IScheduler)


def read(app, work):
    return scheduler_in(app).process.location.read(work, None)


def root_of(path, work):
    """Do something with the root of a database."""
    with (
        contextlib.closing(DB(FileStorage(str(path)))) as db,
        db.transaction() as connection,
    ):
        return work(connection.root())


# -- The first format ---------------------------------------------------------


def test_to_look_at_a_store_of_before_does_not_change_it(old):
    def format_of(root):
        return root[DEFAULT_STORE].format

    with stored_jobs.opened(old) as app:
        with request_of(app) as request:
            jobs = dict(shop.root(request)["jobs"])
            for sid in jobs.values():
                request.jobs.get(sid)
        assert scheduler_in(app).unfinished()

    assert root_of(old, format_of) == 1


def test_new_jobs_go_to_another_slice_than_those_of_before(old):
    with stored_jobs.opened(old) as app:
        before = read(app, lambda store: list(store.slices))
        with request_of(app) as request:
            jobs = dict(shop.root(request)["jobs"])
        scheduler = scheduler_in(app)
        scheduler.start()
        shop.wait_until(lambda: len(scheduler.process.free_pages))
        with request_of(app) as request:
            sid = request.schedule(stored_shop.note, "new")
            sids = list(
                request.schedule.many(stored_shop.note, [("a",), ("b",)])
            )
        after = read(
            app,
            lambda store: (store.format, store.features, list(store.slices)),
        )

        assert after[:2] == (2, store_format.FEATURES)
        assert set(before) < set(after[2])
        new = {split_sid(found).number for found in (sid, *sids)}
        assert new == set(after[2]) - set(before)
        # in a shard, and in a block
        assert isinstance(split_sid(sid).page, tuple)
        assert split_sid(sids[1]).cell == 1
        assert {split_sid(found).number for found in jobs.values()} <= set(
            before
        )


def test_a_store_is_upgraded_again_after_a_rollback(old):
    with stored_jobs.opened(old) as app:
        with request_of(app) as request:
            savepoint = request.tm.savepoint()
            for number in range(3):
                request.schedule(stored_shop.note, f"dropped {number}")
                savepoint.rollback()
            sid = request.schedule(stored_shop.note, "new")
        before, number = read(
            app, lambda store: (min(store.slices), store.format)
        )

        assert number == 2
        assert split_sid(sid).number > before


def test_a_failed_job_of_before_is_found_by_others_when_it_is_revived(old):
    """Its process is killed before it runs it."""
    with stored_jobs.opened(old) as app:
        with request_of(app) as request:
            sid = shop.root(request)["jobs"]["JobError"]
        with request_of(app) as request:
            assert request.jobs.retry(sid)
    stored_shop.mended.set()
    try:
        with stored_jobs.opened(old) as app:
            scheduler_in(app).start()

            def has_run():
                with contextlib.suppress(LookupError):
                    stored_jobs.run_next(app)
                with request_of(app) as request:
                    return request.jobs.get(sid).done

            shop.wait_until(has_run)
            with request_of(app) as request:
                assert request.jobs.get(sid).state == "succeeded"
    finally:
        stored_shop.mended.clear()


def test_slices_of_before_are_dropped_when_their_jobs_have_expired(
    old, monkeypatch
):
    with stored_jobs.opened(old) as app:
        before = read(app, lambda store: list(store.slices))
        scheduler = scheduler_in(app)
        with request_of(app):
            for sid in scheduler.unfinished():
                assert scheduler.cancel(sid)
        expiry = SliceExpiry(scheduler.process)
        real = shop.time.time
        ahead = 0
        monkeypatch.setattr("time.time", lambda: real() + ahead)
        for _ in range(4):
            expiry.open_and_drop()
            ahead += 1_500_000_000  # an outcome is kept for very long there

        assert not set(before) & set(read(app, lambda s: list(s.slices)))


def test_of_two_that_upgrade_a_store_one_conflicts_and_finds_it_done(old):
    with contextlib.closing(DB(FileStorage(str(old)))) as db:
        location = RootLocation(lambda: db)
        managers, connections = [], []
        for _ in range(2):
            managers.append(transaction.TransactionManager(explicit=True))
            connections.append(db.open(managers[-1]))
            managers[-1].begin()
            location.make(connections[-1])
        managers[0].commit()
        with pytest.raises(ConflictError):
            managers[1].commit()
        managers[1].abort()
        for connection in connections:
            connection.close()
        tid = db.lastTransaction()
        location.write(lambda store: None, note="nothing")

        assert db.lastTransaction() == tid


# -- A later version ----------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"format": 3}, "format 3"),
        ({"features": ("blocks", "magic", "shards")}, "lacks, magic: install"),
    ],
)
def test_a_store_that_uses_more_is_refused_by_what_that_is(
    make_app, tmp_path, values, text
):
    uri = f"file://{tmp_path}/Shop.fs?connection_pool_size=20"
    settings = {"zodbconn__uri": uri, "zodb_async__scheduler": "zodb"}
    app = make_app(VIEWS, **settings)
    begin(app, 3)
    drain(app)
    shop.shut_down(app.app.registry)

    def change(root):
        for name, value in values.items():
            setattr(root[DEFAULT_STORE], name, value)

    path = tmp_path / "Shop.fs"
    root_of(path, change)
    before = path.read_bytes()
    app = make_app(VIEWS, **settings)
    with pytest.raises(StoreNotUsable, match=text):
        app.get("/jobs/unknown")
    scheduler = scheduler_of(app)
    with pytest.raises(StoreNotUsable, match=text):
        scheduler.start()
    with pytest.raises(StoreNotUsable, match=text):
        app.post("/start", {"count": 3})
    shop.shut_down(app.app.registry)

    assert path.read_bytes() == before


UNKNOWN = {"later_number": 7, "later_words": ("a", "b")}


def test_what_only_a_later_version_knows_is_kept(
    make_app, tmp_path, monkeypatch
):
    monkeypatch.setattr(bulk_intake, "WINDOW", 5)
    uri = f"file://{tmp_path}/Shop.fs?connection_pool_size=20"
    settings = {
        "zodbconn__uri": uri,
        "zodb_async__scheduler": "zodb",
        "zodb_async__engine": "manual",
    }
    app = make_app(VIEWS, **settings)
    app.get("/jobs/unknown", status=404)
    sids = begin(app, 12)

    def things(store):
        jobs = [store.locate(sid) for sid in sids]
        slice_ = jobs[0].slice_
        shards = slice_.all_shards().values()
        return [
            store,
            slice_,
            jobs[0].block,
            *shards,
            *(job.record for job in jobs),
        ]

    def mark(store):
        for thing in things(store):
            vars(thing).update(UNKNOWN)
            thing._p_changed = True

    scheduler_of(app).process.location.write(mark, note="a later version")
    drain(app)

    def marks(store):
        found = []
        for thing in things(store):
            thing._p_activate()
            found.append({name: vars(thing).get(name) for name in UNKNOWN})
        return found

    found = scheduler_of(app).process.location.read(marks, [])
    assert sales(app) == dict.fromkeys(range(12), 1)
    assert found == [UNKNOWN] * len(found)
    assert len(found) >= 15


# -- A server that lacks the package ------------------------------------------

#: Its conflicts are not resolved, of what classes there are here only.
SERVER = """
import sys
sys.modules["pyramid_zodb_async"] = None
from ZEO.runzeo import main
main()
"""


@contextlib.contextmanager
def zeo_server(folder):
    """Give the URI of clients of a server that cannot import the package."""
    port = free_port()
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [
                *(sys.executable, "-c", SERVER),
                *("-a", f"127.0.0.1:{port}", "-f", folder / "Server.fs"),
            ],
            stdout=log,
            stderr=log,
        )
    try:
        shop.wait_until(lambda: answers(port))
        yield storages.zeo_uri(folder, port)
    finally:
        server.kill()
        server.wait()


def test_a_server_need_not_have_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(bulk_intake, "WINDOW", 20)
    monkeypatch.setattr(bulk_claims, "ENOUGH", 20)
    with zeo_server(tmp_path) as uri, contextlib.ExitStack() as stack:
        apps = []
        for _ in range(2):
            config = Configurator(
                settings={
                    "zodbconn.uri": uri,
                    "zodb_async.scheduler": "zodb",
                    "zodb_async.lease": "1",
                }
            )
            stack.callback(shop.shut_down, config.registry)
            for include in shop.INCLUDES:
                config.include(include)
            for path, view in VIEWS.items():
                config.add_route(path, path)
                config.add_view(view, route_name=path)
            apps.append(shop_app(config))
        begin(apps[0], 100)
        apps[1].post("/start", {"count": 100, "first": 100})
        for app in apps:
            drain(app, timeout=60)

        assert sales(apps[0]) == dict.fromkeys(range(200), 1)
    said = (tmp_path / "server.log").read_text()
    assert "Traceback" not in said


def shop_app(config):
    app = TestApp(config.make_wsgi_app())
    app.get("/jobs/unknown", status=404)
    return app
