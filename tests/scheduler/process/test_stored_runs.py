"""Runs of stored jobs, and who is faster than they are."""

import time

import pytest
import shop
import transaction
from pyramid.registry import Registry
from ZODB.FileStorage import FileStorage

from pyramid_zodb_async import JobError, current_job, job
from pyramid_zodb_async.events import JobRetried, JobSucceeded
from pyramid_zodb_async.jobs.model import JobState
from pyramid_zodb_async.scheduler.records import TakenOver


def rename_when_told(product, name):
    """Rename a product, after what the test does in between."""
    product.rename(name)
    in_between[0]()
    return name


def fail_when_told(product, name):
    """Fail, after what the test does in between."""
    product.rename(name)
    in_between[0]()
    raise ValueError(name)


@job(retry_on=ValueError)
def try_when_told(product, name):
    """Fail in a way that is tried again, after what the test does."""
    fail_when_told(product, name)


def commit_midway(product, name):
    """Commit, let the test do something, and change more."""
    product.rename(name)
    transaction.commit()
    in_between[0]()
    product.price = 99


def begin_anew(product, name):
    """Begin a transaction that sees what the test does in between."""
    in_between[0]()
    transaction.begin()
    product.rename(name)


in_between = []


@pytest.fixture(autouse=True)
def _nothing_in_between():
    in_between.clear()


@pytest.mark.parametrize(
    "function",
    [
        rename_when_told,
        fail_when_told,
        try_when_told,
        commit_midway,
        begin_anew,
    ],
)
def test_a_run_that_was_overtaken_writes_nothing_more(
    process, other, product, function
):
    sid = process.schedule(function, product, "by the first")
    in_between.append(other.take_over)
    delay = process.run(sid)
    if delay is not None:  # its commit conflicted
        assert process.run(sid) is None
    record = process.record(sid)
    transaction.begin()

    assert record["runner"] == other.scheduler.process.incarnation
    assert process.view(sid).state is JobState.PENDING
    assert product.price == 1
    if function is not commit_midway:
        assert product.name == "book"
    in_between[:] = [lambda: None]
    other.run()
    view = other.view(sid)

    assert view.done is (function is not try_when_told)
    assert (view.state is JobState.FAILED) == (function is fail_when_told)
    assert process.scheduler.process.assigned_jobs.get(sid) is None


@pytest.mark.parametrize(
    "function",
    [rename_when_told, fail_when_told, try_when_told, commit_midway],
)
def test_a_job_removed_between_its_start_and_its_commit_writes_nothing_more(
    process, product, function
):
    sid = process.schedule(function, product, "in vain")
    in_between.append(
        lambda: shop.in_thread(lambda: process.scheduler.remove(sid))
    )
    if process.run(sid) is not None:
        assert process.run(sid) is None
    transaction.begin()

    assert process.view(sid) is None
    assert product.price == 1
    if function is not commit_midway:
        assert product.name == "book"
    assert process.scheduler.unfinished() == []


def test_a_job_that_is_running_says_so_where_it_runs(process, other, product):
    seen = []

    def look():
        current_job().progress(1, 2)
        seen.extend(
            shop.in_thread(lambda at=where: at.scheduler.get(sid))
            for where in (process, other)
        )

    sid = process.schedule(rename_when_told, product, "new name")
    in_between.append(look)
    process.run()
    here, elsewhere = seen

    assert here.state is JobState.RUNNING
    assert here.attempt == 1
    assert here.progress.done == 1
    assert here.started is not None
    assert elsewhere.state is JobState.PENDING
    assert elsewhere.attempt == 0
    view = process.view(sid)
    assert view.attempt == 1
    assert view.scheduled <= view.started <= view.finished < view.expires


def test_a_job_is_not_run_twice_at_a_time(process, product):
    in_between.append(lambda: twice.append(process.runner.run(sid)))
    twice = []
    sid = process.schedule(rename_when_told, product, "new name")
    process.run()

    assert twice == [None]
    assert process.view(sid).state is JobState.SUCCEEDED


def test_a_failure_that_cannot_be_recorded_repeats_the_job(
    process, monkeypatch, caplog
):
    sid = process.schedule(shop.give_and_raise, "broken")

    def fail(work, note):
        raise OSError("the storage is away")

    with monkeypatch.context() as patched:
        patched.setattr(process.location, "write", fail)
        assert process.run(sid) > 0
    assert "cannot be recorded now" in caplog.text
    assert process.view(sid).state is JobState.PENDING
    assert process.run(sid) is None
    assert process.view(sid).state is JobState.FAILED


@pytest.mark.parametrize("function", [rename_when_told, fail_when_told])
def test_a_run_whose_job_was_removed_elsewhere_writes_nothing(
    process, other, product, function
):
    sid = process.schedule(function, product, "in vain")
    in_between.append(lambda: shop.in_thread(lambda: remove(other, sid)))
    while process.run(sid) is not None:
        pass  # its commit conflicted
    transaction.begin()

    assert product.name == "book"
    assert process.view(sid) is None


def remove(process, sid):
    transaction.begin()
    process.scheduler.remove(sid)
    transaction.commit()


def close_connection(product):
    """Do what a function should not do, and no harm comes of it."""
    transaction.abort()
    product._p_jar.close()
    return "closed"


def test_a_run_whose_function_closes_the_connection_succeeds(process, product):
    sid = process.schedule(close_connection, product)
    process.run(sid)

    assert process.view(sid).result == "closed"


def test_a_record_that_is_gone_by_now_is_not_changed(process, db):
    """It was dropped with its hour, and packed, during a run of its job."""
    sid = process.schedule(shop.nothing)
    manager = transaction.TransactionManager(explicit=True)
    connection = db.open(manager)
    manager.begin()
    job = process.location.find(connection).locate(sid)
    fence = job.fence
    manager.abort()
    process.run(sid)

    def drop(store):
        store.open_slice(time.time(), 1)
        del store.slices[store.slices.minKey()]

    process.location.write(drop, note="an hour is over")
    db.pack(time.time() + 1)
    manager.begin()

    with pytest.raises(TakenOver, match=sid):
        job.change(fence, begun=True)
    manager.abort()
    connection.close()


@job(retry_on=JobError, backoff=0)
def fail_once():
    """Fail in the first attempt."""
    if current_job().attempt == 1:
        raise JobError("bad luck")


@pytest.mark.parametrize("has_pages", [False, True])
def test_looks_leave_the_retry_that_a_run_records_to_that(
    processes, monkeypatch, has_pages
):
    """Its commit may raise when it is done; the run finds that out itself."""
    process = processes(has_pages=has_pages)
    registry, heard = Registry(), []
    for kind in (JobRetried, JobSucceeded):
        registry.registerHandler(lambda it: heard.append(type(it)), [kind])
    process.scheduler.announcer.registry = registry
    finish = FileStorage.tpc_finish
    errors = [OSError("reset by peer")]

    def look_and_raise(self, transaction, f=None):
        done = finish(self, transaction, f)
        if b"will be tried again" in transaction.description and errors:
            error = errors.pop()
            for _ in range(2):
                process.takeover.find_unassigned()
            run_all(process)
            raise error
        return done

    monkeypatch.setattr(FileStorage, "tpc_finish", look_and_raise)
    sid = process.schedule(fail_once)
    run_all(process)

    assert process.view(sid).attempt == 2
    assert heard == [JobRetried, JobSucceeded]


def abort_in_a_hook():
    """Have the commit begin with an abort."""

    def hook():
        transaction.abort()
        transaction.begin()

    transaction.get().addBeforeCommitHook(hook)


def test_a_commit_that_commits_nothing_is_no_success(process):
    sid = process.schedule(abort_in_a_hook)
    process.run()

    assert process.view(sid).failure.type == "TransactionRequired"


def run_all(process):
    """Run all that waits, as idle worker threads do."""
    while process.engine.submitted:
        process.run()
