"""Where the jobs of an hour lie, and which of them are looked at."""

import random
import secrets
from collections import deque

import pytest
import transaction
from BTrees.IIBTree import IITreeSet
from BTrees.IOBTree import IOBTree
from hand_driven import page_of
from ZODB.POSException import ConflictError

from pyramid_zodb_async.jobs.model import JobState
from pyramid_zodb_async.scheduler.maintenance.lost_jobs import LostJob
from pyramid_zodb_async.scheduler.maintenance.unfinished_jobs import (
    UnfinishedJobs,
)
from pyramid_zodb_async.scheduler.process.placing import add_cell
from pyramid_zodb_async.scheduler.records import Fence, Record, Shard, Store
from pyramid_zodb_async.scheduler.sids import Place, sid_of, split_sid
from pyramid_zodb_async.scheduler.slices import ALL
from pyramid_zodb_async.scheduler.store_format import FEATURES

#: The key of a page in a tree.
KEY = b"k" * 16


@pytest.fixture
def store(connection):
    """Give a store in a database."""
    made = connection.root()["store"] = Store(longest_timeout=1)
    transaction.commit()
    return made


@pytest.fixture
def newest(store):
    return store.newest()[1]


@pytest.fixture
def shard(newest):
    """Give a shard with three empty pages."""
    made = newest.shards[0] = Shard("keeper")
    made.make_pages(3)
    return made


def fill(page, size=0):
    """Put a job on a page, or a block of so many."""
    page.change(function="shop:nothing", call=("shop:nothing", (), ()))
    page.change(secret=secrets.token_bytes(16))
    if size:
        page.change(cells=IOBTree(), open=IITreeSet(), call="shop:nothing")
        for _ in range(size):
            add_cell(page, ((), ()))
    return page


# -- sids


def test_a_sid_is_found_only_with_the_signature_of_its_page(store, shard):
    number, newest = store.newest()
    fill(shard.pages[1])
    sid = newest.sid(number, (0, 1))
    store.open_slice(0, longest_timeout=1)
    other_number, other = store.newest()
    other.shards[0] = Shard("keeper")
    other.shards[0].make_pages(2)
    fill(other.shards[0].pages[1])

    assert store.locate(sid).record is shard.pages[1]
    assert store.locate(f"{other_number:x}-{sid.partition('-')[2]}") is None


def test_an_empty_page_and_a_block_as_a_whole_are_no_jobs(store, shard):
    number, newest = store.newest()
    fill(shard.pages[1], size=2)
    secret = shard.pages[1].secret
    sids = [sid_of(number, (0, page), secret) for page in range(4)]
    signed = [newest.sid(number, (0, 1), index) for index in range(3)]

    assert [store.locate(sid) for sid in sids] == [None] * 4
    assert [bool(store.locate(sid)) for sid in signed] == [True, True, False]
    for sid in sids:
        if sid != sids[1]:
            with pytest.raises(KeyError):
                store.job(sid)


def test_a_sid_can_be_made_without_the_page(store, shard):
    number, newest = store.newest()
    fill(shard.pages[1], size=6)
    sign = store.page_at(number, (0, 1)).signer()

    assert sign(5) == newest.sid(number, (0, 1), 5)


def test_a_page_that_is_written_again_has_other_sids(store, shard):
    number, newest = store.newest()
    sids = []
    for _ in range(2):
        fill(shard.pages[1])
        sids.append(newest.sid(number, (0, 1)))

    assert store.locate(sids[0]) is None
    assert store.locate(sids[1]) is not None


def test_in_a_slice_of_an_earlier_version_nothing_is_signed(store):
    number, newest = store.newest()
    del newest.shards
    newest.tree(KEY)[KEY] = Record()
    newest.tree(KEY)[KEY].change(function="shop:nothing")
    # as anybody can make it
    forged = sid_of(number, KEY, b"", 0)

    assert store.locate(newest.sid(number, KEY)) is not None
    assert store.locate(forged) is None
    assert store.locate(sid_of(number, (0, 0), b"\0" * 16)) is None
    assert newest.page((0, 0)) is None
    assert dict(newest.all_shards()) == {}
    assert list(store.unfinished()) == []


# -- pages and shards


def test_pages_are_made_with_the_numbers_that_follow(shard):
    assert shard.make_pages(2) == range(3, 5)
    assert list(shard.pages) == list(shard.open) == [0, 1, 2, 3, 4]
    assert all(page.is_empty for page in shard.pages.values())
    # also if nothing is open any more
    shard.open.clear()
    assert shard.make_pages(1) == range(5, 6)
    assert list(shard.open) == [5]


def test_a_shard_is_used_when_something_was_written_to_a_page(newest, shard):
    assert not Shard("keeper").is_used()
    assert not shard.is_used()
    assert not newest.is_used()
    fill(shard.pages[0])
    assert shard.is_used()
    assert newest.is_used()


def test_it_is_used_though_the_first_page_stays_empty(shard):
    fill(shard.pages[1])
    shard.open.remove(1)

    assert shard.is_used()


def test_a_slice_is_used_when_a_job_is_in_its_trees(store, newest):
    store.add(page_of(), 1)

    assert newest.is_used()


def test_all_pages_of_a_slice_are_found(store, newest, shard):
    located = store.add(page_of(), 1)

    assert dict(newest.pages()) == {
        located.key: located.page,
        (0, 0): shard.pages[0],
        (0, 1): shard.pages[1],
        (0, 2): shard.pages[2],
    }


# -- listing


@pytest.mark.parametrize(
    ("page", "index"),
    [
        (KEY, None),
        (KEY, 3),
        (KEY, ALL),
        ((1, 2), None),
        ((1, 2), 3),
        ((1, 2), ALL),
    ],
)
def test_what_is_listed_is_found_until_it_is_not_listed_any_more(
    newest, page, index
):
    assert not newest.has_listed()
    newest.keep_until = 1.0
    newest.list_job(page, index)
    assert newest.keep_until is None
    assert list(newest.listed()) == [(page, index)]
    assert newest.has_listed()
    newest.unlist_job(page, index)

    assert list(newest.listed(unload=True)) == []


def test_a_block_without_a_page_of_a_shard_is_listed_as_a_whole(store):
    page = page_of(cells=IOBTree(), open=IITreeSet())
    located = store.add(page, 1)
    for _ in range(3):
        add_cell(page, ((), ()))
    sids = [store.job_on(located, index).sid for index in range(3)]

    assert list(located.slice_.listed()) == [(located.key, ALL)]
    assert list(store.unfinished()) == sids
    assert [store.locate(sid).place for sid in sids] == [
        Place(*split_sid(sid)) for sid in sids
    ]


def test_unfinished_jobs_of_shards_are_found_unless_they_are_listed(
    store, newest, shard
):
    number, _ = store.newest()
    fill(shard.pages[0])
    fill(shard.pages[1], size=3)
    sids = [
        newest.sid(number, (0, 0)),
        *(newest.sid(number, (0, 1), index) for index in range(3)),
    ]
    assert list(store.unfinished()) == sids
    job = store.locate(sids[2])
    job.change(job.fence, state="failed")
    assert list(store.unfinished()) == [*sids[:2], sids[3]]
    job.change(job.fence, state="pending", run_number=1)

    assert sorted(store.unfinished()) == sorted(sids)
    assert list(newest.listed()) == [((0, 1), 1)]


def test_a_job_that_loses_its_runner_is_listed(store, newest, shard):
    fill(shard.pages[0])
    number, _ = store.newest()
    job = store.locate(newest.sid(number, (0, 0)))
    job.record.change(runner="a")
    job.change(job.fence, run_number=1)
    assert not newest.has_listed()
    job.change(job.fence, runner=None)
    assert list(newest.listed()) == [((0, 0), None)]
    job.change(job.fence, runner="b")
    assert list(newest.listed()) == [((0, 0), None)]
    job.change(job.fence, state="succeeded")

    assert not newest.has_listed()


def test_a_job_of_an_old_slice_that_is_revived_is_noted_in_the_newest(
    store, newest, shard
):
    fill(shard.pages[0])
    number, _ = store.newest()
    sid = newest.sid(number, (0, 0))
    job = store.locate(sid)
    job.record.change(runner="a")
    job.change(job.fence, state="failed")
    store.open_slice(0, longest_timeout=1)
    _, following = store.newest()
    job.change(job.fence, state="pending", runner="b", run_number=1)

    assert [found for _, found in following.revived()] == [sid]
    assert list(newest.listed()) == [((0, 0), None)]


# -- what is seldom met


def test_a_listed_page_that_is_gone_is_passed_over(store, newest):
    number, _ = store.newest()
    newest.list_job((9, 9), None)

    assert list(store.listed_in(number, newest)) == []


def test_all_jobs_of_a_slice_are_told_whatever_keeps_them(
    store, newest, shard
):
    number, _ = store.newest()
    newest.tree(KEY)[KEY] = Record()
    fill(shard.pages[0])
    fill(shard.pages[1], size=2)
    jobs = list(store.all_in(number, newest))

    assert len(jobs) == 4
    assert jobs[0].record is newest.tree(KEY)[KEY]
    assert [job.parts() for job in jobs[:1]] == [None]


def test_a_store_learns_the_features_that_it_lacks(store):
    store.features = ()
    store.upgrade()
    known = store.features
    store.features = (*known, "of a later version")
    store.upgrade()

    assert known == FEATURES
    assert store.features == (*known, "of a later version")


def test_what_is_left_in_an_old_slice_is_looked_at_there(store):
    located = store.add(page_of(cells=IOBTree(), open=IITreeSet()), 1)
    add_cell(located.page, ((), ()))
    sids = [store.job_on(store.add(page_of(), 1)).sid for _ in range(2)]
    store.open_slice(0, longest_timeout=1)
    transaction.commit()
    unfinished = UnfinishedJobs()
    unfinished.check_slices(store)
    assert unfinished.blocks(store)
    assert set(unfinished.sids(store, 0)) == set(sids)
    unfinished.leave(sids[0])
    assert list(unfinished.sids(store, 0)) == [sids[1]]
    unfinished.unload(store, [1])  # a slice that was dropped


def test_a_job_of_a_block_that_has_changed_is_not_recalled(store, shard):
    fill(shard.pages[1], size=2)
    transaction.commit()
    job = store.job_on(store.page_at(store.newest()[0], (0, 1)), 0)
    lost = LostJob.of(job, 4)
    other = lost._replace(fence=Fence("pending", "another", 1))
    gone = lost._replace(place=lost.place._replace(number=1))

    assert lost.recall(store, {}).fence == lost.fence
    assert other.recall(store, {}) is None
    assert gone.recall(store, {}) is None


def test_a_job_of_a_block_that_is_not_open_is_looked_after_by_nobody(
    store, shard
):
    fill(shard.pages[1], size=2)
    job = store.job_on(store.page_at(store.newest()[0], (0, 1)), 0)
    assert store.is_looked_after(job)
    shard.pages[1].open.remove(0)

    assert not store.is_looked_after(job)


# -- what is listed beside each other


def test_requests_that_list_jobs_beside_each_other_hardly_conflict(
    db, store, monkeypatch
):
    """Some thousands of them in an hour: a tree that splits is rare."""
    chance = random.Random(3)
    monkeypatch.setattr(secrets, "token_bytes", chance.randbytes)
    managers = [transaction.TransactionManager(explicit=True) for _ in "ab"]
    first, second = map(db.open, managers)
    old, conflicts = deque(), 0
    for _ in range(700):
        for manager in managers:
            manager.begin()
        new = [list_job(first.root()["store"]) for _ in range(3)]
        for _ in range(3):
            list_job(second.root()["store"])
        if len(old) > 20:
            end_job(second.root()["store"], old.popleft())
        managers[0].commit()
        old.extend(new)
        try:
            managers[1].commit()
        except ConflictError:
            managers[1].abort()
            conflicts += 1
    for connection in (first, second):
        connection.transaction_manager.begin()
        connection.transaction_manager.abort()
        connection.close()

    assert conflicts <= 1


def list_job(store):
    """Add a job that every process looks at."""
    return store.job_on(store.add(page_of(), 1)).sid


def end_job(store, sid):
    """End a job, and list it no more."""
    state = JobState.SUCCEEDED.value
    store.change(sid, store.locate(sid).fence, state=state)
