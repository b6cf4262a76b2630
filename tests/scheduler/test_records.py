"""The store in the database: its places, its keys and its only writer."""

import threading

import pytest
import shop
import transaction
from BTrees.OOBTree import OOTreeSet
from hand_driven import Process, page_of
from persistent import Persistent
from ZODB.POSException import ConflictError

from pyramid_zodb_async import PersistentTransactionalScheduler, StoreNotUsable
from pyramid_zodb_async.jobs.model import JobState
from pyramid_zodb_async.scheduler import records, slices
from pyramid_zodb_async.scheduler.records import (
    Store,
    TakenOver,
)
from pyramid_zodb_async.scheduler.slices import TREES


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (records.Beat, "pyramid_zodb_async.scheduler.records.Beat"),
        (records.Cell, "pyramid_zodb_async.scheduler.records.Cell"),
        (records.Outcome, "pyramid_zodb_async.scheduler.records.Outcome"),
        (records.Page, "pyramid_zodb_async.scheduler.records.Page"),
        (records.Record, "pyramid_zodb_async.scheduler.records.Record"),
        (records.Shard, "pyramid_zodb_async.scheduler.records.Shard"),
        (records.Slice, "pyramid_zodb_async.scheduler.records.Slice"),
        (records.Store, "pyramid_zodb_async.scheduler.records.Store"),
        (
            records.StoredCall,
            "pyramid_zodb_async.scheduler.records.StoredCall",
        ),
        (
            records.StoredEnvelope,
            "pyramid_zodb_async.scheduler.records.StoredEnvelope",
        ),
    ],
)
def test_persistent_classes_stay_where_databases_look_for_them(kind, path):
    assert f"{kind.__module__}.{kind.__qualname__}" == path


def test_so_does_the_scheduler_that_is_persistent():
    kind = PersistentTransactionalScheduler

    assert kind.__module__ == "pyramid_zodb_async.scheduler.durable"
    assert kind.__qualname__ == "PersistentTransactionalScheduler"


def test_a_store_has_no_other_persistent_classes():
    found = {
        value
        for value in vars(records).values()
        if isinstance(value, type) and issubclass(value, Persistent)
    }
    ours = {kind for kind in found if kind.__module__ == records.__name__}

    assert {kind.__name__ for kind in ours} == {
        "Beat",
        "Cell",
        "Outcome",
        "Page",
        "Record",
        "Shard",
        "Slice",
        "Store",
        "StoredCall",
        "StoredEnvelope",
    }


@pytest.fixture
def store(connection):
    """Give a store in a database."""
    made = connection.root()["store"] = Store(longest_timeout=1)
    transaction.commit()
    return made


def add(store, timeout=60):
    """Add a job to a store."""
    return store.job_on(store.add(page_of(), timeout)).sid


def test_what_has_its_default_is_not_stored(store):
    record = store.find(add(store))

    stored = {"function", "scheduled", "call", "listed", "secret"}
    assert set(vars(record)) == stored


def test_a_value_that_is_put_back_to_its_default_is_not_stored(store):
    sid = add(store)
    record = store.find(sid)
    fence = store.locate(sid).fence
    store.change(sid, fence, begun=True, crashes=2)
    assert vars(record)["crashes"] == 2
    store.change(sid, fence, begun=False, crashes=0)

    stored = {"function", "scheduled", "call", "listed", "secret"}
    assert set(vars(record)) == stored


def test_a_record_that_is_gone_is_not_changed(store):
    sid = add(store)
    fence = store.locate(sid).fence
    store.change(sid, fence, state="removed")

    with pytest.raises(TakenOver, match=sid):
        store.change(sid, fence, crashes=1)


def test_a_change_that_changes_nothing_writes_nothing(store):
    sid = add(store)
    record = store.find(sid)
    transaction.commit()
    store.change(sid, store.locate(sid).fence, begun=False, runner=None)

    assert not record._p_changed


@pytest.mark.parametrize(
    "difference",
    [{"state": "failed"}, {"runner": "another"}, {"run_number": 1}],
)
def test_a_record_is_changed_only_as_it_is_believed_to_be(store, difference):
    sid = add(store)
    fence = store.locate(sid).fence
    with pytest.raises(TakenOver, match=sid):
        store.change(sid, fence._replace(**difference), crashes=1)
    store.change(sid, fence, **difference)
    with pytest.raises(TakenOver, match=sid):
        store.change(sid, fence, crashes=1)

    assert store.find(sid).crashes == 0


def test_a_job_that_has_ended_is_no_longer_unfinished(store):
    sid = add(store)
    assert list(store.unfinished()) == [sid]
    store.change(sid, store.locate(sid).fence, state=JobState.SUCCEEDED.value)

    assert list(store.unfinished()) == []


def test_the_jobs_of_a_slice_lie_in_many_trees(store):
    for _ in range(2000):
        add(store)
    _, newest = store.newest()

    assert len(newest.jobs) == TREES
    assert sum(len(tree) > 1 for tree in newest.jobs) > 0.9 * TREES
    assert sum(len(tree) - 1 for tree in newest.jobs) == 2000


def test_a_slice_may_have_another_number_of_trees(store, monkeypatch):
    monkeypatch.setattr(slices, "TREES", 64)
    store.open_slice(0, longest_timeout=1)
    monkeypatch.undo()
    sids = {add(store) for _ in range(200)}

    assert len(store.newest()[1].jobs) == 64
    assert set(store.unfinished()) == sids
    for sid in sids:
        store.change(sid, store.locate(sid).fence, state=records.REMOVED)
    assert not store.newest()[1].has_listed()


def test_the_longest_timeout_of_a_slice_is_known(store):
    for timeout in (5, 60, 7):
        add(store, timeout)

    assert store.newest()[1].longest_timeout == 60


def test_eight_threads_fill_a_new_slice_without_a_conflict(db):
    process = Process(db)
    conflicts = []
    together = threading.Barrier(8)

    def schedule():
        together.wait(60)
        for _ in range(10):
            try:
                process.schedule(shop.nothing)
            except ConflictError as conflict:
                conflicts.append(conflict)

    threads = [threading.Thread(target=schedule) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    process.stop()

    assert conflicts == []
    assert len(process.scheduler.unfinished()) == 80


def test_a_later_format_is_refused_and_not_touched(db):
    process = Process(db)
    process.stop()

    def age(store):
        store.format = records.FORMAT + 1

    process.location.write(age, note="written by a later version")
    for use in (
        lambda: Process(db),
        lambda: process.schedule(shop.nothing),
        lambda: process.scheduler.get("unknown"),
    ):
        with pytest.raises(StoreNotUsable, match="install a later version"):
            use()


def test_a_place_that_the_application_uses_is_refused(db, connection):
    connection.root()["pyramid_zodb_async"] = shop.Product("of the shop")
    transaction.commit()

    with pytest.raises(StoreNotUsable, match="but a Product"):
        Process(db)


def test_the_state_of_a_tree_names_its_first_bucket_if_that_is_stored(
    connection,
):
    """It is documented, and databases hold it."""
    small, grown = OOTreeSet(range(5)), OOTreeSet(range(100))
    connection.root().update(small=small, grown=grown)
    transaction.commit()
    assert len(small.__getstate__()) == 1
    for number in range(5, 100):
        grown.remove(number)
    transaction.commit()
    grown._p_deactivate()
    _, first = grown.__getstate__()
    assert list(first) == list(range(5))
    grown.add(5)

    assert first._p_changed
    assert not grown._p_changed
    transaction.abort()
