"""Transactions in Zope tell the same of themselves as Zope's own."""

import functools

import pytest
import shelves
import transaction
from AccessControl.SecurityManagement import (
    newSecurityManager,
    noSecurityManager,
)
from AccessControl.users import User, nobody

from pyramid_zodb_async.transactional import transactional as plain
from pyramid_zodb_async.zope2 import TransactionManager, transactional


def last_change(site):
    """Give user and description of the last transaction, from the log."""
    (entry,) = site._p_jar.db().undoInfo(0, 1)
    return entry["user_name"], entry["description"]


def test_it_records_what_zope_records(site, shelf, bob, browser):
    assert browser.get("/site/hall/shelf/put?number=3").text == "3 green"
    recorded_by_zope = last_change(site)

    assert transactional(shelf.put)(4) == "7 green"
    assert last_change(site) == recorded_by_zope
    assert recorded_by_zope == ("site bob", "/site/hall/shelf/put")


def test_a_user_of_the_root_is_recorded_as_zope_does(app, site, browser):
    app.acl_users._doAddUser("root_bob", "secret", ["Manager"], [])
    transaction.commit()
    browser.authorization = ("Basic", ("root_bob", "secret"))
    browser.get("/site/hall/shelf/put")
    recorded_by_zope = last_change(site)
    user = app.acl_users.getUserById("root_bob").__of__(app.acl_users)
    newSecurityManager(None, user)

    shelves.put(site.hall.shelf, 1)
    assert last_change(site)[0] == recorded_by_zope[0] == " root_bob"


def test_a_decorated_method_has_the_path_of_its_object(site, shelf, bob):
    shelf.fill(3)

    assert last_change(site) == ("site bob", "/site/hall/shelf/fill")


def test_a_plain_function_has_its_name(site, shelf, bob):
    shelves.put(shelf, 1)

    assert last_change(site) == ("site bob", "put")


def test_nobody_is_recorded_where_nobody_has_logged_in(site, shelf):
    noSecurityManager()
    shelf.fill(1)

    assert last_change(site) == ("", "/site/hall/shelf/fill")


def test_nobody_is_recorded_before_zope_has_users(shelf):
    newSecurityManager(None, None)
    assert transactional.get_user_info() is None


def test_a_user_without_a_folder_is_recorded_alone(site, shelf):
    newSecurityManager(None, User("visitor", "", [], []))
    shelf.fill(1)

    assert last_change(site)[0] == "/ visitor"


def test_a_special_user_is_nobody(shelf):
    newSecurityManager(None, nobody)

    assert transactional.get_user_info() is None


@pytest.mark.parametrize(
    ("make", "description"),
    [
        (lambda shelf: shelf, "/site/hall/shelf"),
        (lambda shelf: shelf.tell, "/site/hall/shelf/tell"),
        (lambda shelf: InFolder().__of__(shelf), "/site/hall/shelf/script"),
        (lambda shelf: InFolder(), "script"),
        (lambda shelf: InFolder().method, "script/method"),
        (lambda shelf: len, "len"),
    ],
)
def test_what_is_called_is_described_by_its_path(shelf, make, description):
    found = TransactionManager().get_description(make(shelf), (), {})

    assert found == description


def test_what_has_no_name_is_described_by_its_text(shelf):
    called = functools.partial(shelves.put, shelf)
    description = transactional.get_description(called, (), {})

    assert description == str(called)


def test_a_function_with_the_name_of_a_method_is_none(shelf):
    def tell(shelf):
        pass

    assert transactional.get_description(tell, (shelf,), {}) == "tell"


def test_a_nested_call_joins(site, shelf, bob):
    before = site._p_jar.db().lastTransaction()
    seen = []

    @transactional
    def outer():
        seen.append(transaction.get())
        shelf.fill(1)
        plain(shelf.put)(2)
        seen.append(transaction.get())
        assert site._p_jar.db().lastTransaction() == before

    outer()
    assert seen[0] is seen[1]
    assert last_change(site) == ("site bob", "outer")
    assert shelf.books == 3


def test_a_conflict_has_it_called_again(site, shelf, bob, monkeypatch):
    monkeypatch.setattr(shelves, "seen", [])
    eager = TransactionManager(retry_initial_delay=0)
    calls = []

    @eager
    def put():
        shelf.put(1)
        calls.append(shelf.books)
        if len(calls) == 1:
            with site._p_jar.db().transaction() as other:
                other.get(shelf._p_oid).put(10)

    # without a context there is no colour to tell of
    monkeypatch.setattr(shelves.Shelf, "colour", "red", raising=False)
    put()
    assert calls == [1, 11]
    assert last_change(site) == ("site bob", "put")


def test_a_failure_leaves_no_effects(site, shelf):
    @transactional
    def fail():
        shelf.put(1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert shelf.books == 0


class InFolder(shelves.InContext):
    """An object that Zope finds by acquisition alone."""

    __name__ = "script"

    def __call__(self):
        pass

    def method(self):
        pass
