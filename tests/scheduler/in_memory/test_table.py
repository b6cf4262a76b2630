"""The table of jobs in memory."""

import threading

import pytest

from pyramid_zodb_async import Failure, JobState, Options, Progress
from pyramid_zodb_async.scheduler.in_memory.job import Job
from pyramid_zodb_async.scheduler.in_memory.table import JobTable
from pyramid_zodb_async.scheduler.waiters import Waiters
from pyramid_zodb_async.transfer.envelopes import Dumped

VALUE = Dumped(b"N.", ())
FAILURE = Failure(type="ValueError", message="bad")


@pytest.fixture
def timeout():
    """Give the seconds for which outcomes are kept, to be changed."""
    return [3600.0]


@pytest.fixture
def table(timeout):
    return JobTable(lambda: timeout[0], Waiters(), [].append)


def accept(table, **fields):
    job = Job(function="f", owner=None, base_url=None, **fields)
    table.accept(job)
    return job


def test_a_job_that_was_looked_up_does_not_change(table):
    sid = accept(table).sid
    seen = table.get(sid)
    table.claim(sid)

    assert seen.state is JobState.PENDING
    assert table.get(sid).state is JobState.RUNNING


def test_an_ended_job_lets_go_of_its_arguments(table):
    job = accept(table, call="the call")
    table.claim(job.sid)
    assert table.get(job.sid).call == "the call"
    assert table.succeed(job, 1, VALUE)

    assert table.get(job.sid).call is None


def test_a_repeated_run_begins_without_progress(table):
    job = accept(table)
    table.claim(job.sid)
    job.progress = Progress(done=1)
    table.release(job, 1)
    assert table.get(job.sid).progress == Progress(done=1)
    table.claim(job.sid)

    assert table.get(job.sid).progress is None


def test_a_job_ends_once(table):
    job = accept(table)
    table.claim(job.sid)

    assert table.succeed(job, 1, VALUE)
    assert not table.succeed(job, 1, VALUE)
    assert not table.fail(job, 1, FAILURE, b"")
    table.release(job, 1)
    assert table.get(job.sid).state is JobState.SUCCEEDED


def test_only_the_run_under_way_ends_a_job(table):
    job = accept(table)
    table.claim(job.sid)
    table.release(job, 1)
    table.claim(job.sid)

    assert not table.fail(job, 1, FAILURE, b"")
    assert table.fail(job, 2, FAILURE, b"")
    assert table.get(job.sid).failure is FAILURE


def test_outcomes_expire_in_the_order_of_their_ends(table, timeout):
    timeout[0] = 0
    first, second, third = (accept(table) for _ in range(3))
    for job in (second, first):
        table.claim(job.sid)
        table.succeed(job, 1, VALUE)

    assert len(table) == 1
    assert table.get(first.sid) is table.get(second.sid) is None
    assert table.get(third.sid) is not None


def test_a_failure_that_has_expired_cannot_be_retried(table, timeout):
    timeout[0] = 0
    job = accept(table)
    table.claim(job.sid)
    table.fail(job, 1, FAILURE, b"")

    assert table.retry(job.sid) is None
    assert table.unfinished() == []
    assert len(table) == 0


def test_a_forgotten_outcome_does_not_expire_again(table, timeout):
    timeout[0] = 0
    job = accept(table)
    table.claim(job.sid)
    table.succeed(job, 1, VALUE)
    table.forget(job.sid)
    table.forget(job.sid)

    assert len(table) == 0


def test_a_job_that_has_begun_counts_as_waiting_no_more(table):
    job = accept(table)
    assert table.waiting() == 1
    table.claim(job.sid)
    assert table.waiting() == 0
    table.release(job, 1)  # to be repeated, as it was not refused

    assert table.waiting() == 0


def test_waiting_is_over_when_every_job_has_ended(table):
    jobs = [accept(table) for _ in range(2)]
    assert not table.wait(None, 0)
    assert sorted(table.unfinished()) == sorted(job.sid for job in jobs)

    def work():
        for job in jobs:
            table.claim(job.sid)
            table.fail(job, 1, FAILURE, b"")

    thread = threading.Thread(target=work)
    thread.start()
    assert table.wait(None, 10)
    thread.join()


def test_jobs_can_come_and_go_on_many_threads(table):
    def work():
        for _ in range(200):
            job = accept(table)
            assert table.claim(job.sid) is job
            assert table.succeed(job, 1, VALUE)
            table.forget(job.sid)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(table) == table.waiting() == 0
    assert table.unfinished() == []


def test_a_cancelled_job_has_ended_and_its_run_with_it(table):
    waiting, running = accept(table), accept(table, call="the call")
    table.claim(running.sid)
    assert table.cancel(waiting.sid)
    assert table.cancel(running.sid)

    assert not table.succeed(running, 1, VALUE)
    assert not table.fail(running, 1, FAILURE, b"")
    assert not table.begin_commit(running, 1)
    assert table.claim(waiting.sid) is None
    assert table.unfinished() == []
    assert table.waiting() == 0
    assert table.get(running.sid).state is JobState.CANCELLED
    assert table.get(running.sid).call is None
    assert not table.cancel(running.sid)
    assert not table.cancel("unknown")


def test_a_failed_job_keeps_its_call_and_waits_again(table):
    job = accept(table, call="the call")
    assert not table.retry(job.sid)
    table.claim(job.sid)
    table.release(job, 1)
    table.claim(job.sid)
    table.fail(job, 2, FAILURE, b"error")
    failed = table.get(job.sid)
    assert table.retry(job.sid)
    waiting = table.get(job.sid)

    assert waiting.state is JobState.PENDING
    assert waiting.call == "the call"
    assert waiting.failure is waiting.exception is waiting.expires is None
    assert waiting.conflicts == 0
    assert waiting.version > failed.version
    assert table.unfinished() == [job.sid]
    table.claim(job.sid)
    assert table.get(job.sid).attempt == 2
    assert not table.retry("unknown")


def test_a_run_that_was_given_up_tells_of_no_progress(table):
    job = accept(table)
    table.claim(job.sid)
    table.report(job, 1, Progress(done=1))
    table.release(job, 1)
    table.claim(job.sid)
    table.report(job, 1, Progress(done=2))

    assert table.get(job.sid).changes == 4
    assert table.get(job.sid).progress is None


def test_a_run_that_was_given_up_does_not_end_the_commit_of_the_next(table):
    job = accept(table)
    table.claim(job.sid)
    assert table.begin_commit(job, 1)
    table.abort_commit(job, 1)
    table.release(job, 1)
    table.claim(job.sid)
    assert table.begin_commit(job, 2)
    table.abort_commit(job, 1)

    assert table.get(job.sid).committing


def test_the_version_of_a_job_only_grows(table):
    job = accept(table)
    versions = [table.get(job.sid).version]

    def note():
        versions.append(table.get(job.sid).version)

    for run_number in (1, 2):
        table.claim(job.sid)
        note()
        table.report(job, run_number, Progress(done=1))
        note()
        table.release(job, run_number)
        note()
    table.claim(job.sid)
    note()
    table.fail(job, 3, FAILURE, b"")
    note()
    table.retry(job.sid)
    note()
    table.cancel(job.sid)
    note()

    assert versions == sorted(set(versions))


def test_a_job_that_commits_cannot_be_ended_for_its_time(table):
    """Its effects may be there already."""
    job = accept(table)
    table.claim(job.sid)
    assert table.begin_commit(job, 1)
    assert not table.fail(job, 1, FAILURE, b"")
    assert not table.try_again(job, 1, 0.0)
    table.abort_commit(job, 1)
    assert table.try_again(job, 1, 5.0)

    assert table.get(job.sid).state is JobState.PENDING
    assert table.get(job.sid).due == 5.0
    assert table.get(job.sid).failures == 1


def test_a_run_that_was_given_up_is_not_tried_again(table):
    job = accept(table)
    table.claim(job.sid)
    table.cancel(job.sid)

    assert not table.try_again(job, 1, 0.0)
    assert table.get(job.sid).state is JobState.CANCELLED


def test_outcomes_are_forgotten_each_at_its_time(table, timeout, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(
        "pyramid_zodb_async.scheduler.in_memory.table.time.monotonic",
        lambda: clock[0],
    )
    long = accept(table, options=Options(result_timeout=50))
    short = accept(table, options=Options(result_timeout=5))
    for job in (long, short):
        table.claim(job.sid)
        table.succeed(job, 1, VALUE)
    clock[0] += 5

    assert table.get(short.sid) is None
    assert table.get(long.sid) is not None
    clock[0] += 45
    assert table.get(long.sid) is None
