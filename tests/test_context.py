"""References to persistent objects, passed by hand."""

import pickle

import pytest
import shop
import transaction
from pyramid.response import Response
from pyramid_zodbconn import get_connection
from ZODB.DB import DB
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import POSKeyError

from pyramid_zodb_async import PersistentContext
from pyramid_zodb_async.database.application import databases_of
from pyramid_zodb_async.testing import drain, wait_for


@pytest.fixture
def products(connection):
    """Give three stored products."""
    made = [shop.Product(name) for name in ("apple", "pear", "plum")]
    connection.root()["products"] = made
    transaction.commit()
    return made


def test_another_thread_reads_the_objects_through_its_own_connection(products):
    context = PersistentContext(*products[:2], best=products[2])

    def read():
        found = [context[0], context[1], context["best"], context.get("best")]
        assert not {obj._p_jar for obj in found} & {products[0]._p_jar}
        return [obj.name for obj in found]

    assert shop.in_thread(read) == ["apple", "pear", "plum", "plum"]


def test_an_empty_context_can_tell_the_root_connection(products, connection):
    PersistentContext().set_root_connection(connection)

    assert PersistentContext(products[0])[0] is products[0]
    assert PersistentContext().get_root_connection() is connection


def test_an_empty_context_knows_no_connection():
    with pytest.raises(LookupError, match="does not know its database"):
        PersistentContext().get_root_connection()


def test_a_new_object_that_can_be_reached_is_accepted(connection):
    product = connection.root()["new"] = shop.Product("new")
    context = PersistentContext(product)
    transaction.commit()

    assert shop.in_thread(lambda: context[0].name) == "new"


def test_a_new_object_is_found_through_the_manager_of_the_others(db):
    manager = transaction.TransactionManager(explicit=True)
    connection = db.open(manager)
    manager.begin()
    root = connection.root()
    root["new"] = shop.Product("new")
    context = PersistentContext(root, new=root["new"])
    manager.commit()
    connection.close()

    assert shop.in_thread(lambda: context["new"].name) == "new"


def test_an_object_of_an_unrelated_database_is_refused(products):
    db = DB(MappingStorage(), database_name="stranger")
    with pytest.raises(ValueError, match="the database 'unnamed', which"):
        PersistentContext(db, products[0])
    db.close()


def test_a_pickled_context_needs_to_be_told_its_connection(
    products, connection
):
    context = pickle.loads(pickle.dumps(PersistentContext(a=products[0])))
    with pytest.raises(LookupError, match="set_root_connection"):
        context["a"]
    context.set_root_connection(connection)

    assert context["a"] is products[0]


def read_context(context):
    """Read from a context in a job."""
    connection = get_connection(shop.get_current_request())
    assert context[0]._p_jar is connection
    assert context.get_root_connection() is connection
    return context[0].name


def test_in_a_job_the_objects_come_from_the_jobs_connection(
    make_app, manager, engine
):
    def view(request):
        product = shop.root(request)["product"] = shop.Product("apple")
        request.tm.savepoint()
        context = PersistentContext(product)
        return request.accepted(request.schedule(read_context, context))

    app = make_app({"/view": view}, **manager, **engine)
    sid = app.get("/view").json["sid"]
    drain(app)

    assert wait_for(app, sid).result == "apple"


def test_a_new_object_of_another_database_is_stored_there(pair):
    one = pair[0].open()
    two = one.get_connection("two")
    two.root()["new"] = shop.Product("new")
    context = PersistentContext(one.root(), two.root()["new"])
    transaction.commit()

    assert shop.in_thread(lambda: context[1].name) == "new"
    assert two.root()["new"]._p_jar is two


def test_an_object_of_a_closed_connection_can_be_read_elsewhere(products, db):
    with db.transaction() as other:
        stale = other.root()["products"][0]
    context = PersistentContext(stale)

    assert shop.in_thread(lambda: context[0].name) == "apple"


def test_a_context_does_not_load_its_objects(products):
    products[0]._p_deactivate()
    PersistentContext(products[0])

    assert products[0]._p_state == -1


def test_an_object_whose_savepoint_is_rolled_back_is_not_there(connection):
    savepoint = transaction.savepoint()
    product = connection.root()["new"] = shop.Product("new")
    context = PersistentContext(product)
    savepoint.rollback()
    transaction.commit()

    def read():
        with pytest.raises(POSKeyError):
            context[0]
        return "raised"

    assert shop.in_thread(read) == "raised"


def test_a_context_can_be_stored_in_a_database(products, connection, db):
    connection.root()["context"] = PersistentContext(products[0])
    transaction.commit()

    def read():
        own = db.open()
        context = own.root()["context"]
        context.set_root_connection(own, close=True)
        return context[0].name

    assert shop.in_thread(read) == "apple"


def read_anything(value):
    """Read from contexts deep in a value, in a job of a scheduler."""
    ((context,),) = value["contexts"]
    jar = context[0]._p_jar
    assert context["a"]._p_jar is jar is context.get_root_connection()
    assert value["object"]._p_jar is jar
    return context[0].name, context["a"].name


def test_a_context_travels_to_a_job_at_any_depth(scheduler, products):
    context = PersistentContext(products[0], a=products[1])
    value = {"contexts": [(context,)], "object": products[2]}
    sid = scheduler.schedule(read_anything, value)
    transaction.commit()
    assert scheduler.wait(sid, 60)

    assert scheduler.get_result(sid) == (("apple", "pear"), None)


def make_context(product):
    """Return a context from a job."""
    return PersistentContext(product)


def test_a_job_can_return_a_context(scheduler, products, connection):
    sid = scheduler.schedule(make_context, products[0])
    transaction.commit()
    assert scheduler.wait(sid, 60)
    context, _ = scheduler.get_result(sid)
    context.set_root_connection(connection)

    assert context[0] is products[0]


def test_a_told_connection_of_an_explicit_manager_is_used(db):
    manager = transaction.TransactionManager(explicit=True)
    connection = db.open(manager)
    manager.begin()
    context = PersistentContext(connection.root())
    context.set_root_connection(connection)
    same = context[0] is connection.root()
    manager.abort()
    connection.close()

    assert same


def test_what_a_view_writes_through_a_context_is_stored(make_app, manager):
    """With an explicit manager it is lost, and the connection stays open."""

    def store(request):
        shop.root(request)["product"] = shop.Product("old")
        return Response("stored")

    def write(request):
        connection = get_connection(request)
        context = PersistentContext(connection.root()["product"])
        context.set_root_connection(connection)
        context[0].name = "new"
        return Response("written")

    def read(request):
        return Response(shop.root(request)["product"].name)

    app = make_app(
        {"/store": store, "/write": write, "/read": read}, **manager
    )
    app.get("/store")
    app.get("/write")

    assert app.get("/read").text == "new"
    (db,) = databases_of(app.app.registry).values()
    assert shop.count_open(db) == 0


def test_a_database_of_the_same_name_is_not_the_same_database():
    one, two = DB(MappingStorage()), DB(MappingStorage())
    first, second = one.open(), two.open()
    second.root()["which"] = "two"
    transaction.commit()
    with pytest.raises(ValueError, match="does not know"):
        PersistentContext(first.root(), second.root())


def test_an_unpickled_context_does_not_use_the_database_of_another():
    one, two = DB(MappingStorage()), DB(MappingStorage())
    with one.transaction() as first, two.transaction() as second:
        first.root()["which"] = "one"
        second.root()["which"] = "two"
        of_one = PersistentContext(first.root())
        of_two = pickle.loads(pickle.dumps(PersistentContext(second.root())))
    assert of_one[0]["which"] == "one"
    with pytest.raises(LookupError, match="set_root_connection"):
        of_two[0]


def test_a_closed_connection_cannot_be_the_root_connection(stored, db):
    connection = db.open()
    connection.close()
    with pytest.raises(ValueError, match="closed"):
        stored.set_root_connection(connection)


def test_a_new_object_beside_one_of_a_closed_connection(db):
    connection = db.open()
    root = connection.root()
    connection.close()
    with pytest.raises(ValueError, match="cannot be reached"):
        PersistentContext(root, shop.Product("new"))


def test_an_object_may_have_any_name(connection):
    assert list(PersistentContext(self=connection.root()).keys()) == ["self"]
