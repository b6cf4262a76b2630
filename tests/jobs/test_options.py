"""Options are checked when they are given, and kept with the job."""

import datetime
import functools
import time
from decimal import Decimal
from fractions import Fraction
from http import HTTPStatus

import pytest

from pyramid_zodb_async import Backoff, JobError, Options, job
from pyramid_zodb_async.jobs.given_options import merged, resolved
from pyramid_zodb_async.jobs.option_checks import checked
from pyramid_zodb_async.jobs.options import NO_OPTIONS

DAY = datetime.timedelta(days=1)
MINUTE = datetime.timedelta(minutes=1)
NOON = datetime.datetime(2031, 5, 1, 12, tzinfo=datetime.UTC)


def plain():
    """Have no options."""


@job(attempts=3, delay=60, title="A report")
def report():
    """Have some."""


class Shop:
    @job(priority=3)
    def restock(self):
        """Have options as a method."""


def test_a_decorated_function_stays_an_ordinary_one():
    assert report() is None
    assert report.__name__ == "report"
    assert report.__doc__ == "Have some."


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [
        ("attempts", 1, 1),
        ("backoff", 3, (3, 3600)),
        ("backoff", 7200, (7200, 7200)),
        ("backoff", (1, 10), (1, 10)),
        ("backoff", [MINUTE, 10 * MINUTE], (60, 600)),
        ("backoff", 0, (0, 3600)),
        ("time_limit", 0.5, 0.5),
        ("time_limit", MINUTE, 60),
        ("priority", -5, -5),
        ("queue", "reports.2026_x-y", "reports.2026_x-y"),
        ("result_timeout", MINUTE, 60),
        ("result_timeout", 0, 0),
        ("result_timeout", 1e300, 1e300),
        ("time_limit", 1e300, 1e300),
        ("backoff", 365_000 * DAY, (31_536_000_000,) * 2),
        ("title", "Report for May", "Report for May"),
        ("title", None, None),
        ("retry_on", ValueError, ("builtins:ValueError",)),
        (
            "retry_on",
            [ValueError, JobError],
            ("builtins:ValueError", "pyramid_zodb_async.exceptions:JobError"),
        ),
        ("retry_on", (), ()),
        ("attempts", HTTPStatus.CONTINUE, 100),
        ("time_limit", Fraction(1, 2), 0.5),
        ("result_timeout", Decimal("0.5"), 0.5),
    ],
)
def test_an_option_is_kept_in_one_form(name, given, kept):
    options, due = resolved(plain, checked({name: given}))

    assert getattr(options, name) == kept
    assert due is None


@pytest.mark.parametrize(
    ("name", "value", "error", "allowed"),
    [
        ("attempts", 0, ValueError, "a whole number from 1"),
        ("batched", 1, TypeError, "True or False"),
        ("batched", "yes", TypeError, "True or False"),
        ("attempts", 1.5, TypeError, "a whole number"),
        ("attempts", True, TypeError, "a whole number"),
        ("retry_on", "ValueError", TypeError, "an exception class"),
        ("retry_on", (ValueError, 3), TypeError, "an exception class"),
        ("retry_on", int, TypeError, "an exception class"),
        ("retry_on", KeyboardInterrupt, TypeError, "an exception class"),
        ("retry_on", 5, TypeError, "an exception class"),
        ("backoff", -1, ValueError, "seconds, 0 or more"),
        ("backoff", (1, 2, 3), TypeError, "a pair"),
        ("backoff", (), TypeError, "a pair"),
        ("backoff", (10, 1), ValueError, "in that order"),
        ("backoff", "fast", TypeError, "seconds or a timedelta"),
        ("delay", -1, ValueError, "seconds, 0 or more"),
        ("delay", float("nan"), ValueError, "seconds, 0 or more"),
        ("delay", float("inf"), ValueError, "seconds, 0 or more"),
        ("delay", 10**400, ValueError, "seconds, 0 or more"),
        ("delay", 1e12, ValueError, "no more than a thousand years"),
        ("delay", float("inf"), ValueError, "no more than a thousand years"),
        ("delay", 367_000 * DAY, ValueError, "no more than a thousand years"),
        ("backoff", 1e300, ValueError, "no more than a thousand years"),
        ("backoff", (1, 1e300), ValueError, "no more than a thousand years"),
        ("delay", Decimal("snan"), ValueError, "seconds, 0 or more"),
        ("attempts", Fraction(2), TypeError, "a whole number"),
        ("delay", False, TypeError, "seconds or a timedelta"),
        ("at", "tomorrow", TypeError, "a datetime"),
        ("at", NOON.date(), TypeError, "a datetime"),
        ("at", NOON.replace(tzinfo=None), ValueError, "with a time zone"),
        (
            "at",
            NOON.replace(year=9999),
            ValueError,
            "no more than a thousand years from now",
        ),
        ("time_limit", 0, ValueError, "more than 0"),
        ("priority", "high", TypeError, "a whole number"),
        ("priority", 10**9, ValueError, "from -1000000 to 1000000"),
        ("result_timeout", -MINUTE, ValueError, "seconds, 0 or more"),
        ("queue", 3, TypeError, "the name of a queue"),
        ("queue", "", ValueError, "the first a letter or digit"),
        ("queue", "-Q", ValueError, "the first a letter or digit"),
        ("queue", "a,b", ValueError, "1 to 100 letters"),
        ("queue", "x" * 101, ValueError, "1 to 100 letters"),
        ("title", 3, TypeError, "a text"),
        ("title", " ", ValueError, "1 to 200 characters"),
        ("title", "x" * 201, ValueError, "1 to 200 characters"),
    ],
)
def test_a_wrong_option_is_named_with_what_is_allowed(
    name, value, error, allowed
):
    with pytest.raises(error) as caught:
        checked({name: value})

    assert f"The option {name!r} takes" in str(caught.value)
    assert allowed in str(caught.value)


def test_an_unknown_option_is_told_with_the_one_that_was_meant():
    with pytest.raises(TypeError, match=r"did you mean 'time_limit'\?"):
        checked({"timelimit": 3})
    with pytest.raises(TypeError, match="there are attempts, retry_on"):
        checked({"x": 3})


def test_two_ways_to_say_when_are_refused_together():
    with pytest.raises(ValueError, match="not both"):
        checked({"delay": 3, "at": NOON})


def test_a_function_has_no_moment_of_its_own():
    with pytest.raises(TypeError, match="with_options"):
        job(at=NOON)


def test_what_cannot_be_called_gets_no_options():
    with pytest.raises(TypeError, match="decorates a function, not 3"):
        job(attempts=2)(3)


def test_options_are_found_on_methods_and_inside_partial_calls():
    assert resolved(Shop().restock, {})[0].priority == 3
    assert resolved(functools.partial(report), {})[0].attempts == 3


def test_no_options_are_the_same_object_for_all():
    assert resolved(plain, {}) == (NO_OPTIONS, None)
    assert resolved(plain, {})[0] is NO_OPTIONS
    assert Options.load(()) is NO_OPTIONS


def test_what_is_given_when_scheduling_goes_before_the_function():
    options, due = resolved(report, checked({"attempts": 9, "delay": 5}))

    assert options.attempts == 9
    assert options.title == "A report"
    assert due == pytest.approx(time.time() + 5, abs=1)


def test_none_takes_back_what_the_function_says():
    given = checked({"attempts": None, "delay": None})
    options, due = resolved(report, given)

    assert options.attempts is None
    assert due is None


def test_a_moment_takes_the_place_of_the_functions_delay():
    later = datetime.datetime.now(datetime.UTC) + MINUTE
    _, due = resolved(report, checked({"at": later}))

    assert due == later.timestamp()


def test_a_delay_takes_the_place_of_an_earlier_moment():
    assert merged(checked({"at": NOON}), checked({"delay": 1})) == {"delay": 1}
    assert merged({"delay": 1}, checked({"at": NOON})) == {
        "at": NOON.timestamp()
    }


@pytest.mark.parametrize(
    "given", [{"delay": 0}, {"at": NOON.replace(year=2001)}]
)
def test_what_is_due_already_does_not_wait(given):
    assert resolved(plain, checked(given))[1] is None


def test_options_survive_their_stored_form():
    options, _ = resolved(
        report,
        checked({"retry_on": OSError, "backoff": (1, 2), "priority": 4}),
    )

    assert Options.load(options.stored()) == options
    assert NO_OPTIONS.stored() == ()


def test_a_stored_option_of_a_later_version_is_left_alone():
    options = Options.load((("attempts", 2), ("colour", "green")))

    assert options == Options(attempts=2)


def test_retries_are_for_the_exceptions_named_and_their_subclasses():
    options, _ = resolved(plain, checked({"retry_on": (OSError, KeyError)}))

    assert options.covers(ConnectionError())
    assert options.covers(KeyError("x"))
    assert not options.covers(ValueError())
    assert not NO_OPTIONS.covers(ValueError())


def test_a_group_is_covered_by_its_class_or_by_what_is_in_it():
    def group(*errors):
        return ExceptionGroup("some", errors)

    options = Options(**checked({"retry_on": (ConnectionError, LookupError)}))
    groups = Options(**checked({"retry_on": ExceptionGroup}))

    assert options.covers(group(ConnectionResetError(), KeyError()))
    assert options.covers(group(group(group(KeyError())), KeyError()))
    assert not options.covers(group(KeyError(), ValueError()))
    assert not options.covers(BaseExceptionGroup("some", [SystemExit()]))
    assert groups.covers(group(ValueError()))
    assert not groups.covers(ValueError())
    assert not NO_OPTIONS.covers(group(KeyError()))


def test_groups_may_be_nested_to_any_depth():
    error = KeyError()
    for _ in range(10_000):
        error = ExceptionGroup("in a group", [error])

    assert Options(**checked({"retry_on": KeyError})).covers(error)


def test_a_job_waits_a_random_time_that_grows_up_to_a_limit():
    backoff = Backoff(2, 10)
    delays = {n: [backoff.delay(n) for _ in range(300)] for n in (1, 2, 9)}

    assert 1 < max(delays[1]) <= 2
    assert 2 < max(delays[2]) <= 4
    assert 4 < max(delays[9]) <= 10
    assert min(delays[9]) < 4
    assert 0 <= Backoff(1.0, 1e300).delay(10_000) < 2**60
