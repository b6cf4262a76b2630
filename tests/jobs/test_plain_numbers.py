"""Numbers of other libraries are numbers."""

import math
import numbers
from fractions import Fraction

import pytest

from pyramid_zodb_async.jobs.plain_numbers import plain_number


class Reading:
    """A number as those of numpy are."""

    def __float__(self):
        return 0.25


numbers.Real.register(Reading)


class Array:
    """What is a number if it has one element only, as arrays of numpy."""

    def __index__(self):
        raise TypeError("only integer scalar arrays can be converted")


def test_numbers_of_other_libraries_are_numbers():
    assert plain_number(Reading()) == 0.25
    assert type(plain_number(Reading())) is float


def test_a_number_that_is_too_large_is_infinite():
    assert plain_number(Fraction(10**400)) == math.inf


@pytest.mark.parametrize("value", [None, "1", b"1", True, 1j, [1], Array()])
def test_what_is_no_number_is_none(value):
    assert plain_number(value) is None
