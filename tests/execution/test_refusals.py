"""A storage that refuses what a job did, or is away."""

import pytest
import shop
from pyramid.threadlocal import get_current_request
from shop import scheduler_of, sid_of
from transaction.interfaces import TransientError
from ZODB.blob import Blob
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSKeyError

from pyramid_zodb_async import job
from pyramid_zodb_async.database.application import RequestConnections
from pyramid_zodb_async.database.probes import can_be_read
from pyramid_zodb_async.execution import rules
from pyramid_zodb_async.scheduler.in_memory.run import MemoryRun
from pyramid_zodb_async.scheduler.process.run import StoredRun
from pyramid_zodb_async.testing import drain, wait_for

pytestmark = pytest.mark.kept_in("memory", "zodb")


class DriverError(Exception):
    """What the driver of a database raises, and no storage converts."""


class StorageAway(TransientError):
    """What a client of a storage raises that has lost its server."""


@pytest.fixture(autouse=True)
def _short_delays(monkeypatch):
    monkeypatch.setattr(rules, "GREATEST_DELAY", 0.01)
    shop.attempts.clear()


def actions(caplog):
    """List what the log tells of runs."""
    return [
        (record.levelname, record.action)
        for record in caplog.records
        if ".execution." in record.name
    ]


def add_a_blob():
    """Store what the storage of the tests does not take."""
    shop.attempts.append(None)
    shop.root()["blob"] = Blob(b"cover")


@job(attempts=4, retry_on=Exception)
def tell_much_more(characters):
    """Have the transaction tell more than a storage takes."""
    shop.attempts.append(None)
    shop.add("word")
    transaction = get_current_request().tm.get()
    transaction.setExtendedInfo("more", "m" * characters)


def test_what_the_storage_refuses_each_time_fails_the_job_after_three_runs(
    run, caplog
):
    view = run(tell_much_more, 70_000)

    assert len(shop.attempts) == 3
    assert view.attempt == 1
    assert view.failure.type == "FileStorageError"
    assert view.failure.message == "too much extension data"
    assert not view.failure.public
    assert shop.effects(run.app) == []
    assert actions(caplog) == [("WARNING", "job_refused")] * 3 + [
        ("ERROR", "job_failed")
    ]
    assert caplog.text.count("FileStorageError: too much") == 3


def test_a_job_that_depends_on_what_is_gone_by_its_commit_fails(run, refuse):
    refuse.extend(POSKeyError(b"missing.") for _ in range(3))
    failure = run(shop.add, "word").failure

    assert failure.type == "POSKeyError"


def test_blobs_where_there_are_none_fail_the_job(run):
    assert run(add_a_blob).failure.type == "Unsupported"


def test_a_job_that_was_refused_can_be_retried(run, refuse):
    refuse += [DriverError() for _ in range(3)]
    view = run(shop.add, "word")
    assert view.failure.type == "DriverError"

    refuse += [DriverError() for _ in range(2)]
    scheduler = scheduler_of(run.app)
    assert shop.in_thread(lambda: scheduler.retry(view.sid))
    drain(run.app)
    assert wait_for(run.app, view.sid).result == 1
    assert shop.effects(run.app) == ["word"]


@job(attempts=2, retry_on=ValueError, backoff=0)
def fail_the_third_time():
    """Fail by itself when the storage has refused two runs."""
    shop.attempts.append(None)
    if len(shop.attempts) == 3:
        raise ValueError
    return shop.add("word")


def test_each_attempt_may_be_refused_twice(run, refuse):
    refuse += [DriverError() for _ in range(4)]
    view = run(fail_the_third_time)

    assert view.result == 1
    assert view.attempt == 2
    assert len(shop.attempts) == 6


def test_the_time_in_which_no_transaction_works_does_not_count(
    run, refuse, monkeypatch, caplog
):
    answers = [True, False, False, False, False]
    for kind in (MemoryRun, StoredRun):
        works = kind.storage_works

        def ask(self, databases, works=works):
            return works(self, databases) and (not answers or answers.pop())

        monkeypatch.setattr(kind, "storage_works", ask)
    refuse += [DriverError("the server ended") for _ in range(6)]
    view = run(shop.add, "word")

    assert view.result == 1
    assert actions(caplog).count(("WARNING", "job_waits_for_storage")) == 4
    assert caplog.text.count("the server ended") == 6
    assert shop.effects(run.app) == ["word"]


@pytest.mark.parametrize(
    "error",
    [StorageAway("no answer"), OSError(28, "No space left on device")],
)
def test_an_outage_never_fails_a_job(run, refuse, error, caplog):
    refuse += [error] * 9
    view = run(shop.add, "word", zodb_async__max_conflicts=3)

    assert view.result == 1
    assert view.attempt == 1
    assert shop.effects(run.app) == ["word"]
    assert set(actions(caplog)) == {("WARNING", "job_waits_for_storage")}
    assert str(error) in caplog.text


@pytest.fixture
def begin(make_app):
    """Begin a run of a job, and give it with the database."""

    def begin():
        app = make_app({"/start": shop.start}, zodb_async__engine="manual")
        sid = sid_of(shop.begin(app, "nothing"))
        db = app.app.registry._zodb_databases[""]
        return scheduler_of(app).claim(sid), db

    return begin


def test_a_storage_works_if_it_can_be_used(begin):
    run, db = begin()

    assert run.storage_works((db,))
    db.storage.close()
    assert not run.storage_works((db,))


def test_a_storage_works_only_if_all_do_that_the_run_used(begin, pair):
    run, db = begin()
    _, another = pair

    assert run.storage_works((db, another))
    another.storage.close()
    assert not run.storage_works((db, another))


@pytest.mark.kept_in("zodb")
def test_a_storage_that_takes_no_commits_does_not_work(begin, refuse_all):
    run, db = begin()
    refuse_all.append(True)

    assert can_be_read(db)
    assert not run.storage_works((db,))


@pytest.fixture
def refuse_all(monkeypatch):
    """Let no commit succeed once this has an entry."""
    vote = FileStorage.tpc_vote
    refuses = []

    def tpc_vote(self, transaction):
        if refuses:
            raise DriverError
        return vote(self, transaction)

    monkeypatch.setattr(FileStorage, "tpc_vote", tpc_vote)
    return refuses


# -- What a transaction tells -------------------------------------------------


def tell(characters):
    """Have the transaction tell much of what it does."""
    shop.add("word")
    transaction = get_current_request().tm.get()
    for _ in range(characters):
        transaction.note("𝄞")


def test_a_long_note_is_cut(run):
    view = run(tell, 20_000)

    assert view.failure is None
    assert shop.effects(run.app) == ["word"]


def test_so_is_the_name_of_a_user(make_app, engine):
    owner = "𝄞" * 20_000

    def view(request):
        scheduler_of(app).schedule_call(
            shop.add, ("word",), {}, RequestConnections(request), owner=owner
        )
        return request.response

    app = make_app({"/view": view}, **engine)
    app.get("/view")
    drain(app)

    assert shop.effects(app) == ["word"]
