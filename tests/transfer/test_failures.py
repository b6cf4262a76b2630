"""What remains of an exception."""

import pickle

import shop
import transaction

from pyramid_zodb_async import JobError
from pyramid_zodb_async.database.connections import ThreadConnections
from pyramid_zodb_async.transfer.failures import (
    LONGEST_TEXT,
    describe,
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
