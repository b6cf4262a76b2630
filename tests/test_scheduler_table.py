"""The table of jobs in memory."""

import threading

import pytest

from pyramid_zodb_async import Failure, JobState, Progress
from pyramid_zodb_async.references import Dumped
from pyramid_zodb_async.scheduler.table import Job, JobTable

VALUE = Dumped(b"N.", ())
FAILURE = Failure(type="ValueError", message="bad")


@pytest.fixture
def timeout():
    """Give the seconds for which outcomes are kept, to be changed."""
    return [3600.0]


@pytest.fixture
def table(timeout):
    return JobTable(lambda: timeout[0])


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


def test_a_forgotten_outcome_does_not_expire_again(table, timeout):
    timeout[0] = 0
    job = accept(table)
    table.claim(job.sid)
    table.succeed(job, 1, VALUE)
    table.forget(job.sid)
    table.forget(job.sid)

    assert len(table) == 0


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
