"""Slices are opened and dropped, whatever the clock does."""

import time

import pytest
import shop
import transaction
from hand_driven import Process, page_of
from ZODB.POSException import ConflictError, ReadConflictError

from pyramid_zodb_async.scheduler.maintenance.expiry import SPAN, SliceExpiry
from pyramid_zodb_async.scheduler.records import Slice
from pyramid_zodb_async.settings import DEFAULT_STORE


class Clock:
    """A clock that can be put forward and back."""

    def __init__(self, monkeypatch):
        self._real = time.time
        self.ahead = 0
        monkeypatch.setattr(time, "time", lambda: self._real() + self.ahead)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


@pytest.fixture
def process(processes):
    return processes(timeout=100)


@pytest.fixture
def expiry(process):
    return SliceExpiry(process.scheduler.process)


def slices(process):
    """Give the numbers of the slices there are."""
    return process.location.read(lambda store: list(store.slices), [])


def test_an_idle_store_is_left_alone_however_long(process, expiry, db, clock):
    expiry.open_and_drop()
    before = db.lastTransaction()
    for _ in range(5):
        clock.ahead += SPAN
        expiry.open_and_drop()

    assert db.lastTransaction() == before
    assert len(slices(process)) == 1


def test_a_used_slice_is_followed_by_another_after_an_hour(
    process, expiry, clock
):
    process.schedule(shop.nothing)
    expiry.open_and_drop()
    assert len(slices(process)) == 1
    clock.ahead = SPAN
    expiry.open_and_drop()
    expiry.open_and_drop()
    first, second = slices(process)
    sid = process.schedule(shop.nothing)

    assert second > first
    assert sid.startswith(f"{second:x}-")


def test_an_abandoned_outcome_goes_with_its_slice(process, expiry, clock):
    sid = process.schedule(shop.give, "abandoned")
    process.run()
    clock.ahead = SPAN
    expiry.open_and_drop()  # opens a new slice
    expiry.open_and_drop()  # sets the end of the old one
    clock.ahead = SPAN + 99
    expiry.open_and_drop()
    assert len(slices(process)) == 2
    clock.ahead = SPAN + 101
    expiry.open_and_drop()

    assert len(slices(process)) == 1
    assert process.view(sid) is None


def test_an_outcome_is_forgotten_at_its_time_though_its_slice_is_there(
    process, clock
):
    sid = process.schedule(shop.give, "outcome")
    process.run()
    clock.ahead = 99
    assert process.view(sid).result == "outcome"
    clock.ahead = 101
    assert process.view(sid) is None
    assert process.scheduler.get_result(sid) is None
    assert process.scheduler.completed(sid) is None


def test_a_slice_lives_as_long_as_its_last_job(process, expiry, clock):
    process.schedule(shop.nothing)
    late = process.schedule(shop.give, "late")
    process.run()
    for _ in range(5):
        clock.ahead += SPAN
        expiry.open_and_drop()
    process.run(late)
    expiry.open_and_drop()
    clock.ahead += 99
    expiry.open_and_drop()
    assert process.view(late).result == "late"
    clock.ahead += 2
    expiry.open_and_drop()

    assert len(slices(process)) == 1


def test_a_fetched_outcome_does_not_hold_its_slice(process, expiry, clock):
    sid = process.schedule(shop.give, "outcome")
    process.run()
    transaction.begin()
    process.scheduler.get_result(sid)
    transaction.commit()
    clock.ahead = SPAN
    for _ in range(4):
        expiry.open_and_drop()
        clock.ahead += 101

    assert len(slices(process)) == 1


def test_a_job_scheduled_from_an_old_snapshot_meets_the_drop_of_its_slice(
    process, expiry, clock
):
    """Otherwise both would commit, and the job would be gone."""
    process.schedule(shop.nothing)
    process.run()
    transaction.begin()
    process.scheduler.schedule(shop.nothing)  # into the slice to be dropped
    clock.ahead = SPAN
    for _ in range(2):
        expiry.open_and_drop()
    clock.ahead += 101
    expiry.open_and_drop()
    assert len(slices(process)) == 1

    with pytest.raises((ConflictError, ReadConflictError)):
        transaction.commit()
    transaction.abort()
    sid = process.schedule(shop.nothing)
    process.run()
    assert process.view(sid).done


def test_a_slice_gets_no_end_while_a_job_is_added_to_it(
    process, expiry, clock
):
    process.schedule(shop.nothing)
    process.run()
    clock.ahead = SPAN
    transaction.begin()
    sid = process.scheduler.schedule(shop.nothing)
    expiry.open_and_drop()  # but this transaction has the old slice
    transaction.commit()
    for _ in range(5):
        clock.ahead += SPAN
        expiry.open_and_drop()
    process.run()

    assert process.view(sid).done


@pytest.mark.parametrize("jump", [10 * 365 * 86400, -10 * 365 * 86400])
def test_a_clock_that_jumps_loses_no_job_and_stops_no_expiry(
    process, expiry, clock, jump
):
    waiting = process.schedule(shop.give, "waiting")
    clock.ahead = jump
    expiry.open_and_drop()
    jumped = process.schedule(shop.give, "jumped")
    expiry.open_and_drop()
    clock.ahead = 0
    expiry.open_and_drop()
    back = process.schedule(shop.give, "back")
    expiry.open_and_drop()
    while process.engine.submitted:
        process.run()
    views = [process.view(sid) for sid in (waiting, jumped, back)]
    assert [view.result for view in views] == ["waiting", "jumped", "back"]

    clock.ahead = SPAN
    for _ in range(4):
        expiry.open_and_drop()
        clock.ahead += 101
    assert len(slices(process)) <= 2
    assert process.scheduler.unfinished() == []


in_between = []


def rename_in_between(product):
    """Rename a product, after what the test does meanwhile."""
    product.name = "in vain"
    # as other jobs on the same connection have done before
    assert list(product._p_jar.root()[DEFAULT_STORE].unfinished())
    in_between.pop()()


def test_a_run_that_outlives_the_record_of_its_cancelled_job_changes_nothing(
    process, expiry, clock, db, connection
):
    product = connection.root()["product"] = shop.Product("book")
    transaction.commit()
    sid = process.schedule(rename_in_between, product)

    def cancel_and_pack():
        assert process.scheduler.cancel(sid)
        transaction.commit()
        for hour in range(1, 4):  # until its slice is dropped
            clock.ahead = hour * SPAN
            expiry.open_and_drop()
        db.pack()

    in_between.append(lambda: shop.in_thread(cancel_and_pack))
    assert process.run(sid) is None
    transaction.begin()

    assert len(slices(process)) == 1
    assert process.view(sid) is None
    assert product.name == "book"


def test_an_end_that_a_wrong_clock_has_set_is_set_anew(process, expiry, clock):
    process.schedule(shop.nothing)
    process.run()
    clock.ahead = 1000 * SPAN
    for _ in range(2):
        expiry.open_and_drop()
    assert len(slices(process)) == 2
    clock.ahead = 0
    expiry.open_and_drop()
    clock.ahead = 101
    expiry.open_and_drop()

    assert len(slices(process)) == 1


def test_jobs_of_a_new_slice_are_kept_as_long_as_those_before(
    process, expiry, clock
):
    process.schedule(shop.nothing)
    clock.ahead = SPAN
    expiry.open_and_drop()
    timeouts = process.location.read(
        lambda store: [
            slice_.longest_timeout for slice_ in store.slices.values()
        ],
        [],
    )

    assert timeouts == [100, 100]


def test_slices_go_one_by_one_at_their_times(db, clock):
    process = Process(db, timeout=3 * SPAN)
    expiry = SliceExpiry(process.scheduler.process)
    for hour in range(3):
        clock.ahead = hour * SPAN
        expiry.open_and_drop()  # opens one
        expiry.open_and_drop()  # sets the end of the one before
        process.schedule(shop.nothing)
        process.run()
    first, second, third = slices(process)
    clock.ahead = 4.5 * SPAN
    for _ in range(2):
        expiry.open_and_drop()
    process.stop()

    assert slices(process)[:2] == [second, third]
    assert first not in slices(process)


def test_ended_slices_are_not_searched_for_unfinished_jobs(
    process, expiry, clock
):
    process.schedule(shop.nothing)
    process.run()
    clock.ahead = SPAN
    for _ in range(2):
        expiry.open_and_drop()
    sid = process.schedule(shop.nothing)

    assert process.scheduler.unfinished() == [sid]


def test_a_job_that_a_long_transaction_adds_to_an_old_slice_is_not_overlooked(
    process, expiry, clock, db, monkeypatch
):
    """It commits while the expiry, who sees no job yet, sets an end."""
    process.schedule(shop.nothing)
    process.run()
    transaction.begin()
    sid = process.scheduler.schedule(shop.nothing)
    clock.ahead = SPAN
    expiry.open_and_drop()
    settle = Slice.require_no_new_jobs

    commit = transaction.get().commit
    done = []

    def commit_once(slice_):
        settle(slice_)
        if not done:
            done.append(True)
            commit()

    monkeypatch.setattr(Slice, "require_no_new_jobs", commit_once)
    expiry.open_and_drop()

    assert process.scheduler.unfinished() == [sid]


def test_an_end_is_taken_back_if_there_is_an_unfinished_job_all_the_same(
    process, expiry, clock
):
    process.schedule(shop.nothing)
    process.run()
    clock.ahead = SPAN
    for _ in range(2):
        expiry.open_and_drop()
    number, _ = slices(process)

    def add(store):
        # as a transaction did that the expiry has not seen
        slice_ = store.slices[number]
        newest = store.slices.maxKey()
        later = store.slices.pop(newest)
        sid = store.job_on(store.add(page_of(), 100)).sid
        store.slices[newest] = later
        assert slice_.has_listed()
        return sid

    sid = process.location.write(add, note="a late job")
    assert process.scheduler.unfinished() == []
    expiry.open_and_drop()

    assert process.scheduler.unfinished() == [sid]


def test_a_slice_is_kept_as_long_as_an_outcome_that_came_later(
    db, clock, process, expiry
):
    sid = process.schedule(shop.give, "outcome")
    patient = Process(db, timeout=10 * SPAN)
    patient.take_over()
    patient.run()
    for _ in range(9):
        clock.ahead += SPAN
        expiry.open_and_drop()
    patient.stop()

    assert process.view(sid).result == "outcome"
