"""What remains of an exception."""

import pickle

import shop
import transaction

from pyramid_zodb_async import JobError, JobTimeout
from pyramid_zodb_async.database.connections import ThreadConnections
from pyramid_zodb_async.transfer.failures import (
    LONGEST_TEXT,
    describe,
    is_for_people,
    pickled_exception,
)


def travelled(error):
    return pickle.loads(pickled_exception(error, ThreadConnections()))


def test_an_exception_keeps_its_type_and_its_arguments():
    copy = travelled(KeyError("name", 2))

    assert type(copy) is KeyError
    assert copy.args == ("name", 2)


def test_a_traceback_and_causes_stay_behind():
    try:
        raise ValueError("effect") from KeyError("cause")
    except ValueError as error:
        copy = travelled(error)

    assert copy.__traceback__ is None
    assert copy.__cause__ is None
    assert copy.__context__ is None


def test_an_exception_that_holds_a_persistent_object_has_a_stand_in(
    connection,
):
    product = connection.root()["product"] = shop.Product("name")
    transaction.commit()
    copy = travelled(ValueError("bad", product))

    assert type(copy) is JobError
    assert str(copy).startswith("ValueError: ('bad', <shop.Product")


def test_only_errors_for_people_are_public():
    assert describe(JobError("text")).public
    assert not describe(KeyError("text")).public
    assert describe(KeyError("text"), (LookupError,)).public
    assert not describe(ValueError("text"), (LookupError,)).public


def test_a_text_without_end_is_cut():
    text = "x" * LONGEST_TEXT

    assert describe(ValueError(text)).message == text
    assert describe(ValueError(text + "xx")).message == text + "…"
    assert travelled(ValueError(text + "xx")).args == (text + "xx",)


class Exploding(Exception):
    """An error whose text cannot be made."""

    def __str__(self):
        raise SystemExit


def test_an_error_without_a_text_is_told_by_its_type():
    assert "Exploding" in describe(Exploding()).message
    assert "Exploding" in str(travelled(Exploding()))


def caused(error, cause):
    error.__cause__ = cause
    return error


class Wordless(Exception):
    """An error that has no text."""


def test_an_error_without_a_text_tells_the_cause_that_has_one():
    first = ValueError("the reason")
    error = caused(Wordless(), caused(KeyError(), first))

    # the text of KeyError() is empty as well
    assert describe(error).message == "ValueError: the reason"
    copy = travelled(error)
    assert type(copy) is Wordless
    assert copy.__notes__ == ["caused by ValueError: the reason"]


def test_an_error_with_a_text_does_not_tell_its_cause():
    error = caused(Wordless("own"), ValueError("secret"))

    assert describe(error).message == "own"
    assert not hasattr(travelled(error), "__notes__")


def test_causes_in_a_circle_tell_nothing():
    one, two = Wordless(), Wordless()
    caused(one, two), caused(two, one)

    assert describe(one).message == ""


def test_people_are_not_told_of_causes_nor_of_what_is_in_a_group():
    error = caused(Wordless(), ValueError("secret"))
    group = ExceptionGroup("trouble", [ValueError("secret")])

    assert describe(error, (Wordless,)).message == ""
    assert "secret" not in describe(group, (ExceptionGroup,)).message


def test_some_of_what_is_in_a_large_group_is_told():
    group = ExceptionGroup("all", [ValueError(n) for n in range(50)])
    message = describe(group).message

    assert message.startswith("all (50 sub-exceptions): ValueError: 0; Value")
    assert message.endswith("ValueError: 9; …")
    assert len(describe(ExceptionGroup("x" * 20_000, [group])).message) <= (
        LONGEST_TEXT + 1
    )


class Own(JobError):
    """An error of an application."""


class Hidden(JobError):
    """One for its developers."""

    public = False


class Overdue(JobTimeout):
    """One of a kind that tells of a fault."""


def test_errors_for_people_are_told_from_those_of_this_package():
    assert is_for_people(JobError("text"))
    assert is_for_people(Own())
    assert not is_for_people(Hidden())
    assert not is_for_people(JobTimeout())
    assert not is_for_people(Overdue())
    assert not is_for_people(ValueError())
    assert not is_for_people(SystemExit())


def test_a_large_exception_is_stored_as_its_type_and_the_start_of_its_text():
    small = travelled(ValueError("x" * 60_000))
    large = travelled(ValueError("x" * 70_000))
    hidden = travelled(Laden("short"))

    assert type(small) is ValueError
    assert type(large) is JobError
    assert str(large) == "ValueError: " + "x" * LONGEST_TEXT + "…"
    assert type(hidden) is JobError
    assert str(hidden) == "Laden: short"


class Laden(Exception):
    """An error that holds more than its text."""

    def __init__(self, text):
        super().__init__(text)
        self.response = bytes(70_000)
