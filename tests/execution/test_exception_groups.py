"""What a job has raised together is looked at one by one."""

import pytest
import shop
from pyramid.threadlocal import get_current_request
from ZODB.POSException import ConflictError

from pyramid_zodb_async import JobError, current_job, job
from pyramid_zodb_async.exceptions import JobCancelled

pytestmark = pytest.mark.kept_in("memory", "zodb")


@pytest.fixture
def manager():
    return {}


@pytest.fixture
def engine():
    return {"zodb_async.engine": "inline"}


class Busy(Exception):
    """May not come back."""


def nested(*errors):
    """Give a group in a group in a group."""
    inner = ExceptionGroup("inner", errors)
    return ExceptionGroup("outer", [ExceptionGroup("middle", [inner])])


ERRORS = {
    "conflicts": lambda: ExceptionGroup("all", [ConflictError()] * 2),
    "one": lambda: ExceptionGroup("some", [ValueError(), ConflictError()]),
    "nested": lambda: nested(ValueError(), ConflictError()),
    "busy": lambda: nested(Busy("A"), ConnectionError("B")),
    "mixed": lambda: ExceptionGroup("some", [Busy("A"), ValueError("B")]),
}


def raise_at_first(name):
    """Raise the first time."""
    shop.add("half done")
    shop.attempts.append(current_job().attempt)
    if len(shop.attempts) == 1:
        error = ERRORS[name]()
        raise error
    return "done"


@job(retry_on=(Busy, ConnectionError), backoff=0)
def try_again(name):
    return raise_at_first(name)


@job(retry_on=ExceptionGroup, backoff=0)
def try_again_after_groups(name):
    return raise_at_first(name)


@pytest.mark.parametrize("name", ["conflicts", "one", "nested"])
def test_a_group_with_a_conflict_repeats_the_attempt(run, name):
    shop.attempts.clear()
    view = run(raise_at_first, name)

    assert view.result == "done"
    assert shop.attempts == [1, 1]
    assert shop.effects(run.app) == ["half done"]


def test_a_group_is_tried_again_if_each_of_it_is(run):
    shop.attempts.clear()
    view = run(try_again, "busy")

    assert view.result == "done"
    assert shop.attempts == [1, 2]


def test_a_group_with_another_error_fails_the_job_at_once(run):
    shop.attempts.clear()
    view = run(try_again, "mixed")

    assert view.state == "failed"
    assert shop.attempts == [1]


def test_a_group_may_be_named_itself(run):
    shop.attempts.clear()
    view = run(try_again_after_groups, "mixed")

    assert view.result == "done"
    assert shop.attempts == [1, 2]


def test_a_failure_tells_what_is_in_a_group(run):
    shop.attempts.clear()
    failure = run(raise_at_first, "mixed").failure

    assert failure.type == "ExceptionGroup"
    assert failure.message == "some (2 sub-exceptions): Busy: A; ValueError: B"


def cancel_and_raise_together():
    """Find out that the job is not to go on, and raise that in a group."""
    request = get_current_request()
    request.jobs.cancel(current_job().sid)
    raise ExceptionGroup("tasks", [JobCancelled("not any more")])


def test_a_group_of_what_was_to_be_expected_is_no_trouble(run, caplog):
    caplog.set_level("INFO")
    view = run(cancel_and_raise_together)

    assert view.state == "cancelled"
    actions = [getattr(record, "action", None) for record in caplog.records]
    assert "job_given_up" in actions
    assert "job_overruled" not in actions


def test_a_group_of_messages_for_people_shows_none(run):
    failure = run(explain_together).failure

    assert not failure.public
    assert "JobError: sold out" in failure.message


def explain_together():
    raise ExceptionGroup("tasks", [JobError("sold out")])
