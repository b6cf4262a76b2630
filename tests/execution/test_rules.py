"""What is to follow a run that has raised."""

import time
import weakref

import pytest
import shop
import transaction
from ZODB.POSException import ConflictError

from pyramid_zodb_async import JobError, JobTimeout, job
from pyramid_zodb_async.database.connections import ThreadConnections
from pyramid_zodb_async.execution.rules import Rules
from pyramid_zodb_async.execution.verdicts import (
    Fail,
    FailedAttempt,
    GiveBack,
    GivenUp,
    Overruled,
    Raised,
    Repeat,
    TryAgain,
    WaitForStorage,
)
from pyramid_zodb_async.scheduler.memory import MemoryScheduler

RULES = Rules(
    max_conflicts=2,
    attempts=4,
    public_errors=(KeyError,),
    waits_before_retry=True,
)


@job(attempts=2, retry_on=ValueError, backoff=60)
def try_twice():
    pass


@pytest.fixture
def scheduler():
    return MemoryScheduler()


@pytest.fixture
def begin(scheduler):
    """Begin a run of a job."""

    def begin(function=shop.nothing):
        with transaction.manager:
            sid = scheduler.schedule(function)
        return scheduler.claim(sid)

    return begin


def stopping():
    """Give an error as a handler of Celery's raises it."""
    try:
        exec("raise SystemExit(1)", {"__name__": "celery.apps.worker"})
    except SystemExit as error:
        return error


def decide(run, error, *, may_repeat=True, is_outage=True):
    """Decide on an error that would be a reason for all that may follow."""
    connections = ThreadConnections()
    raised = Raised(error, connections, may_repeat, is_outage)
    return RULES.decide(run, raised)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (stopping(), Overruled()),
        (ValueError(), Overruled()),
        (JobError(), GivenUp()),
        (ConflictError(), GivenUp()),
    ],
)
def test_nothing_else_counts_if_the_job_has_ended(
    scheduler, begin, error, verdict
):
    run = begin()
    run.time_out(JobTimeout())
    scheduler.remove(run.sid)

    assert decide(run, error) == verdict


def test_the_end_of_the_process_counts_more_than_an_outage(begin):
    assert decide(begin(), stopping()) == GiveBack()


def test_an_outage_counts_more_than_the_time_limit(begin):
    run = begin()
    run.time_out(JobTimeout())
    verdict = decide(run, OSError())

    assert isinstance(verdict, WaitForStorage)
    assert verdict.met == "OSError"


def test_a_run_whose_time_is_up_has_failed_whatever_it_raised(begin):
    run = begin()
    reason = JobTimeout()
    run.time_out(reason)
    verdict = decide(run, ConflictError(), is_outage=False)

    assert isinstance(verdict, FailedAttempt)
    assert verdict.error is reason


def test_a_transient_error_repeats_the_attempt_a_number_of_times(begin):
    run = begin()
    for _ in range(RULES.max_conflicts):
        verdict = decide(run, ConflictError(), is_outage=False)
        assert isinstance(verdict, Repeat)
        assert 0 <= verdict.delay <= 0.1
        run.conflicts += 1

    assert isinstance(
        decide(run, ConflictError(), is_outage=False), FailedAttempt
    )


def failed(run, error):
    """Decide on an error that is nothing but a failure."""
    attempt = decide(run, error, may_repeat=False, is_outage=False)
    assert attempt.error is error
    return RULES.decide_on_attempt(run, attempt)


def test_a_failed_attempt_is_followed_by_another_as_the_job_says(begin):
    run = begin(try_twice)
    begun = time.time()
    verdict = failed(run, ValueError())

    assert isinstance(verdict, TryAgain)
    assert verdict.failures == 1
    assert verdict.attempts == 2
    assert verdict.due >= begun + verdict.delay > begun


@pytest.mark.parametrize(
    ("error", "failures"), [(KeyError("book"), 0), (ValueError("book"), 1)]
)
def test_a_job_fails_by_the_wrong_error_or_the_last_attempt(
    begin, error, failures
):
    run = begin(try_twice)
    run.failures = failures
    verdict = failed(run, error)

    assert isinstance(verdict, Fail)
    assert verdict.failure.type == type(error).__name__
    assert verdict.failure.public is isinstance(error, KeyError)


class Held:
    """What a function works with."""


def test_a_verdict_lets_go_of_what_the_function_worked_with(begin):
    held = []

    def work():
        product = Held()
        held.append(weakref.ref(product))
        raise ValueError

    try:
        work()
    except ValueError as error:
        verdict = failed(begin(), error)

    assert isinstance(verdict, Fail)
    assert held[0]() is None
