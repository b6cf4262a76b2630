"""What dm.zodb.asynchronous 2.3 says of its contexts holds here too.

First the cases of its own tests, on a plain database instead of Zope's, then
what its docstrings promise.
"""

import pytest
import shop
import transaction
from ZODB.POSException import POSKeyError

from pyramid_zodb_async.context import PersistentContext


@pytest.fixture
def root(pair):
    """Give a root with three objects, through a connection of this thread."""
    connection = pair[0].open()
    root = connection.root()
    for number in range(3):
        root[number] = shop.Product(str(number), price=number)
    transaction.commit()
    yield root
    transaction.abort()
    connection.close()


@pytest.fixture
def told(root):
    """Tell contexts of this thread's connection."""
    PersistentContext().set_root_connection(root._p_jar)


# its tests


def test_objects_come_by_index_and_by_name(root, told):
    context = PersistentContext(root[0], root[1], a=root[2])

    assert len(context) == 2
    assert list(context.keys()) == ["a"]
    assert context[0] is root[0]
    assert context["a"] is root[2]


def test_an_uncommitted_object_of_the_graph_is_fine(root, told):
    root[3] = shop.Product("3")
    context = PersistentContext(root[3])

    assert context[0] is root[3]


def test_an_object_outside_of_the_graph_is_a_value_error(root, told):
    with pytest.raises(ValueError, match="cannot be reached"):
        PersistentContext(shop.Product("4"))


def test_an_object_that_is_not_persistent_is_an_attribute_error(told):
    with pytest.raises(AttributeError, match="_p_oid"):
        PersistentContext(1)


# its docstrings


def test_another_thread_loads_the_objects_anew(root):
    context = PersistentContext(root[1], a=root[2])

    def read():
        one, two = context[0], context["a"]
        assert one._p_jar is two._p_jar is context.get_root_connection()
        assert one._p_jar is not root._p_jar
        return one.price, two.price

    assert shop.in_thread(read) == (1, 2)


def test_another_thread_sees_changes_only_when_they_are_committed(root):
    context = PersistentContext(root[1])
    root[1].price = "new"
    assert shop.in_thread(lambda: context[0].price) == 1
    transaction.commit()

    assert shop.in_thread(lambda: context[0].price) == "new"


def test_what_another_thread_changes_is_committed_by_its_transaction(root):
    context = PersistentContext(root[1])

    def write():
        context[0].price = "written"

    shop.in_thread(write)
    transaction.begin()

    assert root[1].price == "written"


def test_other_databases_are_opened_through_the_root_connection(root):
    other = root._p_jar.get_connection("two").root()
    context = PersistentContext(root, other)

    def find():
        first, second = context[0]._p_jar, context[1]._p_jar
        return second is first.get_connection("two"), second.db()

    assert shop.in_thread(find) == (True, other._p_jar.db())


def test_all_contexts_of_a_transaction_share_the_connection(root, pair):
    one, two = PersistentContext(root[0]), PersistentContext(root[1])

    def find():
        assert one[0]._p_jar is two[0]._p_jar
        return shop.count_open(pair[0])

    assert shop.in_thread(find) == 2  # with that of this thread


def test_the_connection_is_closed_with_the_transaction(root, pair):
    context = PersistentContext(root[0])
    shop.in_thread(lambda: context[0])

    assert shop.count_open(pair[0]) == 1


def test_a_told_root_connection_is_used(root):
    context = PersistentContext(root[0])
    context.set_root_connection(root._p_jar)

    assert context.get_root_connection() is root._p_jar
    assert context[0] is root[0]


def test_a_told_root_connection_is_lost_with_the_transaction(root):
    context = PersistentContext(root[0])
    context.set_root_connection(root._p_jar)
    transaction.abort()

    assert context.get_root_connection() is not root._p_jar
    assert root._p_jar.opened


def test_the_same_root_connection_can_be_told_again(root, told):
    PersistentContext(root[0]).set_root_connection(root._p_jar)


def test_another_root_connection_is_a_value_error(root, pair):
    context = PersistentContext(root[0])
    context[0]
    with pytest.raises(ValueError, match="root connection"):
        context.set_root_connection(root._p_jar)


@pytest.mark.parametrize("end", [transaction.commit, transaction.abort])
def test_a_told_root_connection_is_closed_on_demand(pair, end):
    connection = pair[0].open()
    PersistentContext().set_root_connection(connection, close=True)
    end()

    assert shop.count_open(pair[0]) == 0


def test_a_subclass_may_give_the_root_database(root, pair):
    class InApplication(PersistentContext):
        def _get_root_database(self):
            return pair[0]

    context = InApplication(root._p_jar.get_connection("two").root())

    def find():
        return context.get_root_connection().db(), context[0]._p_jar.db()

    assert shop.in_thread(find) == pair


def test_a_database_may_come_first(root, pair):
    context = PersistentContext(pair[0], root[1])

    assert len(context) == 1
    assert shop.in_thread(lambda: context[0].price) == 1


def test_what_is_not_there_is_an_index_error_or_a_key_error(root):
    context = PersistentContext(root[0], a=root[1])
    with pytest.raises(IndexError):
        context[1]
    with pytest.raises(KeyError):
        context["b"]

    assert context.get("b") is None
    assert context.get("b", 1) == 1


def test_an_object_that_is_gone_is_a_poskeyerror(root, pair):
    context = PersistentContext(root[1])
    del root[1]
    transaction.commit()
    pair[0].pack()

    def read():
        with pytest.raises(POSKeyError):
            context[0]
        return "raised"

    assert shop.in_thread(read) == "raised"
