"""Owners are texts that know of what type the userid was."""

import pickle

import pytest

from pyramid_zodb_async.jobs.owners import (
    Owner,
    as_owner,
    is_owner,
    loaded_owner,
    stored_owner,
)


def test_an_owner_is_a_text_to_others():
    owner = as_owner(1)

    assert owner == "1"
    assert {"1": "found"}[owner] == "found"
    assert type(stored_owner(owner)["owner"]) is str


def test_a_pickle_of_an_owner_is_a_plain_text():
    loaded = pickle.loads(pickle.dumps([as_owner("ann"), as_owner(1)]))

    assert loaded == ["ann", "1"]
    assert [type(text) for text in loaded] == [str, str]


def test_an_owner_is_the_same_after_it_was_stored():
    for userid in (1, "1", b"1", 1.0, ("realm", 1)):
        owner = as_owner(userid)
        again = loaded_owner(**stored_owner(owner))
        assert again == owner
        assert again.kind == owner.kind
    assert loaded_owner(**stored_owner("plain")) == "plain"


@pytest.mark.parametrize(
    ("user", "owner", "is_same"),
    [
        (None, "ann", False),
        ("ann", "ann", True),
        ("ann", "bob", False),
        (Owner("1", "int"), "1", True),
        (Owner("1", "int"), Owner("1", "int"), True),
        (Owner("1", "int"), Owner("1", "str"), False),
    ],
)
def test_what_is_not_known_of_an_owner_makes_no_difference(
    user, owner, is_same
):
    assert is_owner(user, owner) is is_same


class Unspeakable:
    """A user whose text cannot be made."""

    def __str__(self):
        raise ZeroDivisionError


def test_what_the_text_of_a_userid_raises_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        as_owner(Unspeakable())
