"""The errors, and what they say."""

import pickle

import pytest

from pyramid_zodb_async import exceptions
from pyramid_zodb_async.exceptions import JobError

ERRORS = [getattr(exceptions, name) for name in exceptions.__all__]


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_without_a_text_says_what_its_class_is_for(error):
    text = str(error())

    assert text
    assert "\n" not in text
    assert " ".join(error.__doc__.split()).startswith(text)


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_with_a_text_says_it(error):
    assert str(error("my text")) == "my text"


@pytest.mark.parametrize("error", ERRORS)
def test_all_errors_have_one_base_and_can_travel(error):
    copy = pickle.loads(pickle.dumps(error("my text")))

    assert isinstance(copy, JobError)
    assert type(copy) is error


def test_an_error_of_an_application_without_a_docstring_has_no_text():
    class Own(JobError):
        __doc__ = None

    assert str(Own()) == ""


def test_errors_for_developers_are_not_for_those_who_wait():
    private = [error.__name__ for error in ERRORS if not error.public]

    assert private == [
        "ArgumentNotTransferable",
        "BulkTooLarge",
        "DatabaseForked",
        "StoreNotUsable",
        "TransactionRequired",
    ]
