"""How jobs of the database end, and begin again."""

import time

import pytest
import shop
import transaction
from hand_driven import Process
from ZODB.POSException import ConflictError

from pyramid_zodb_async import JobState
from pyramid_zodb_async.jobs.model import make_version
from pyramid_zodb_async.scheduler.maintenance.expiry import SPAN, SliceExpiry


@pytest.fixture
def process(processes):
    return processes(timeout=100)


def fail(process):
    """Let a job fail, and give its sid."""
    sid = process.schedule(shop.explain)
    process.run()
    return sid


def test_a_failed_job_is_handed_to_the_engine_again(process):
    sid = fail(process)
    transaction.begin()
    assert process.scheduler.retry(sid)
    assert process.engine.submitted == []
    transaction.commit()
    assert process.engine.submitted == [sid]
    assert process.scheduler.backlog() == 0  # it could not be refused
    process.run()

    assert process.view(sid).attempt == 2
    assert process.view(sid).version == make_version(1, done=True)


def test_a_retry_forgets_all_of_the_failure_but_the_attempt(process):
    failed = fail(process)
    fresh = process.record(process.schedule(shop.give, "value"))
    process.scheduler.retry(failed)
    transaction.commit()
    retried = process.record(failed)

    assert retried.pop("attempt") == 1
    assert retried.pop("run_number") == 1
    # no shard tells of it any more
    assert retried.pop("listed")
    assert set(retried) == set(fresh)


def test_where_no_jobs_run_a_retried_one_is_left_to_others(process):
    sid = fail(process)
    process.scheduler.stop()
    transaction.begin()
    assert process.scheduler.retry(sid)
    transaction.commit()

    assert process.engine.submitted == []
    assert "runner" not in process.record(sid)
    assert process.scheduler.unfinished() == [sid]


def test_a_run_of_before_the_retry_changes_nothing(process, gate):
    sid = process.schedule(shop.wait_at, "gate")
    run = shop.Answer(process.run)
    gate.wait_for_job()
    record = process.record(sid)
    process.location.write(
        lambda store: store.change(
            sid, store.locate(sid).fence, state="failed"
        ),
        note="as if another had failed it",
    )
    transaction.begin()
    assert process.scheduler.retry(sid)
    transaction.commit()
    gate.open()
    run.join(60)

    assert process.record(sid)["run_number"] == 1
    assert process.view(sid).state is JobState.PENDING
    assert record["runner"] == process.record(sid)["runner"]
    # the retry has come while the old run was not put away yet
    assert process.engine.submitted == [sid]
    process.run()
    assert process.view(sid).result == "gate"


@pytest.fixture
def clock(monkeypatch):
    """Give seconds by which the clock is ahead."""
    ahead, real = [0], time.time
    monkeypatch.setattr(time, "time", lambda: real() + ahead[0])
    return ahead


def test_a_job_of_an_old_slice_that_is_tried_again_is_not_lost(db, clock):
    """Its slice had its end set already, so nobody looks into it."""
    process = Process(db, timeout=10 * SPAN)
    expiry = SliceExpiry(process.scheduler.process)
    sid = fail(process)
    for _ in range(3):
        clock[0] += SPAN + 1
        expiry.open_and_drop()
    transaction.begin()
    assert process.scheduler.retry(sid)
    transaction.commit()
    assert process.scheduler.unfinished() == [sid]
    clock[0] += 20 * SPAN
    expiry.open_and_drop()
    expiry.open_and_drop()
    assert process.scheduler.unfinished() == [sid]
    process.run(sid)

    assert process.view(sid).attempt == 2
    transaction.abort()
    process.stop()


def test_to_drop_a_slice_conflicts_with_a_retry_in_it(db, clock):
    process = Process(db, timeout=100)
    expiry = SliceExpiry(process.scheduler.process)
    sid = fail(process)
    clock[0] += SPAN + 1
    expiry.open_and_drop()
    expiry.open_and_drop()
    clock[0] -= SPAN + 1  # the outcome is there for the request still
    transaction.begin()
    assert process.scheduler.retry(sid)
    clock[0] += 2 * SPAN
    slices = process.location.read(lambda store: len(store.slices), 0)
    shop.Answer(expiry.open_and_drop).join(60)
    assert process.location.read(lambda store: len(store.slices), 0) < slices
    with pytest.raises(ConflictError):
        transaction.commit()
    transaction.abort()

    assert process.view(sid) is None
    process.stop()


def test_a_cancelled_job_keeps_neither_call_nor_outcome(process):
    sid = process.schedule(shop.give, "value")
    transaction.begin()
    assert process.scheduler.cancel(sid)
    transaction.commit()
    record = process.record(sid)

    assert record["state"] == "cancelled"
    assert "call" not in record
    assert "outcome" not in record
    assert process.scheduler.unfinished() == []
    assert sid not in process.scheduler.process.assigned_jobs
    assert process.run(sid) is None


def test_a_job_that_nobody_asks_the_storage_for_is_known_from_memory(process):
    """Also where the thread for looks was never started."""
    sid = process.schedule(shop.nothing)
    process.scheduler.stop()

    assert process.scheduler.glance(sid).state is JobState.PENDING
    assert process.scheduler.glance("unknown") is None
