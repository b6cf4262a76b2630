"""An object tells what it was before."""

import pytest
import shop
import storages
import transaction
import zodburi
from storages import UNDOING
from undoing import undo
from ZODB.DB import DB

from pyramid_zodb_async.database.earlier_states import earlier_states


@pytest.fixture(params=[storage for _, storage in UNDOING])
def db(request, tmp_path):
    """Give a database that keeps what was."""
    with storages.uri_of(request.param, tmp_path) as uri:
        factory, options = zodburi.resolve_uri(uri)
        opened = DB(factory(), **options)
        yield opened
        transaction.abort()
        opened.close()


@pytest.fixture
def product(connection):
    """Give a new stored product, whose prices are its history."""
    product = connection.root()["product"] = shop.Product("book", 0)
    transaction.commit()
    return product


def change(product, *prices):
    for price in prices:
        with transaction.manager as current:
            current.note(f"price {price}")
            product.price = price


def earlier_prices(product):
    return [state["price"] for state in earlier_states(product)]


def test_a_new_object_was_nothing_before(product):
    assert earlier_prices(product) == []


def test_an_object_tells_its_earlier_states_the_last_one_first(product):
    change(product, 1)
    assert earlier_prices(product) == [0]
    change(product, 2, 3)
    assert earlier_prices(product) == [2, 1, 0]


def test_not_more_than_some_states_are_told(product):
    change(product, *range(1, 60))

    assert earlier_prices(product) == list(range(58, 9, -1))


def test_a_ghost_tells_them_too(product):
    change(product, 1)
    product._p_deactivate()

    assert earlier_prices(product) == [0]


def test_what_was_undone_is_an_earlier_state(product, db):
    change(product, 1, 2)
    undo(db, "price 2")
    with transaction.manager:
        assert product.price == 1
        assert earlier_prices(product) == [2, 1, 0]


def test_nothing_is_told_of_before_an_object_was_gone(connection, db):
    with transaction.manager as current:
        current.note("making")
        product = connection.root()["product"] = shop.Product("book", 0)
    undo(db, "making")
    undo(db, "undo of making")
    with transaction.manager:
        product = connection.root()["product"]
        assert product.price == 0
        assert earlier_prices(product) == []


def test_a_change_that_is_not_seen_yet_is_not_told(product, db):
    change(product, 1)
    with transaction.manager:
        product._p_activate()
        with db.transaction() as elsewhere:
            elsewhere.root()["product"].price = 2
        assert product.price == 1
        assert earlier_prices(product) == [0]


def test_what_was_packed_is_not_told(product, db):
    change(product, 1, 2)
    db.pack()
    with transaction.manager:
        assert earlier_prices(product) == []


def test_a_storage_that_cannot_undo_tells_nothing(pair):
    one, _ = pair
    with one.transaction() as connection:
        connection.root()["product"] = shop.Product("book", 0)
    with one.transaction() as connection:
        connection.root()["product"].price = 1
    with one.transaction() as connection:
        product = connection.root()["product"]

        assert not one.supportsUndo()
        assert list(earlier_states(product)) == []
