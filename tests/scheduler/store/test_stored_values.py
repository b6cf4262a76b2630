"""What the database keeps of values: plain ones, and all others."""

import enum

import pytest
import shop

from pyramid_zodb_async.scheduler.store.stored_values import is_small_and_plain


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -1,
        2**200,
        1.5,
        "ä" * 200,
        b"x" * 900,
        (),
        ("book", (1, None), b""),
    ],
)
def test_builtins_that_never_change_are_plain(value):
    assert is_small_and_plain(value)


class Colour(enum.StrEnum):
    """Strings of a class of the application's."""

    RED = "red"


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        {1},
        1j,
        object(),
        len,
        Colour.RED,
        shop.Product("book"),
        ("book", [1]),
        (1, (2, (3, Colour.RED))),
    ],
)
def test_what_may_change_or_is_of_another_class_is_not(value):
    assert not is_small_and_plain(value)


@pytest.mark.parametrize(
    "value",
    [
        "x" * 1001,
        "ä" * 300,
        b"\xff" * 1001,
        2**9000,
        (None,) * 130,
        (("x" * 500,) * 2,),
        (1,) * 1_000_000,
    ],
)
def test_nor_is_what_is_large(value):
    assert not is_small_and_plain(value)
