"""Values on their way between threads."""

import datetime as dt
import fractions
import functools
import pickle
import sys
import types

import Acquisition
import pytest
import shop
import transaction
from BTrees.OOBTree import OOBTree
from persistent import Persistent
from persistent.wref import WeakRef
from pyramid.interfaces import IDict
from ZODB.broken import find_global
from ZODB.DB import DB
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import ConflictError, POSKeyError
from zope.interface import implementer

from pyramid_zodb_async import JobNotLoadable, PersistentContext
from pyramid_zodb_async.database.connections import (
    OpenedConnections,
    ThreadConnections,
    use_connections,
)
from pyramid_zodb_async.exceptions import NotTransferable
from pyramid_zodb_async.transfer import envelopes
from pyramid_zodb_async.transfer.envelopes import resolved


@pytest.fixture
def other():
    """Give the connections of somebody else."""
    manager = transaction.TransactionManager()
    connections = OpenedConnections(manager)
    yield connections
    manager.abort()
    connections.close()


@pytest.fixture
def stored(connection):
    """Give a stored product."""
    product = connection.root()["product"] = shop.Product("name")
    transaction.commit()
    return product


def dump(value, connections):
    """Pickle a value whose objects are stored."""
    return resolved(envelopes.dump(value, connections))


def travel(value, other):
    return dump(value, ThreadConnections()).load(other)


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"bytes",
        "text",
        {"nested": [1, (2.5, {3}), frozenset("abc")]},
        dt.datetime(2026, 11, 24, tzinfo=dt.UTC),
        shop.Product,
        shop.give,
    ],
)
def test_plain_values_arrive_equal(value, other):
    assert travel(value, other) == value


def test_a_persistent_object_arrives_from_the_others_connection(stored, other):
    arrived = travel({"deep": [(stored,)]}, other)["deep"][0][0]

    assert arrived._p_oid == stored._p_oid
    assert arrived._p_jar is other.to(stored._p_jar.db())
    assert arrived is not stored


def test_an_object_stays_one(stored, other):
    one, two = travel([stored, stored], other)

    assert one is two


class Holder:
    """A plain object that refers to another one."""

    def __init__(self, held):
        self.held = held


def same(value):
    return value


@pytest.mark.parametrize(
    ("wrap", "unwrap"),
    [
        (lambda it: {it}, lambda found: next(iter(found))),
        (lambda it: {it: 1}, lambda found: next(iter(found))),
        (lambda it: ([{"a": (it,)}],), lambda found: found[0][0]["a"][0]),
        (Holder, lambda found: found.held),
        (lambda it: it.rename, lambda found: found.__self__),
        (lambda it: functools.partial(same, it), lambda found: found()),
    ],
    ids=["set", "key", "nested", "object", "method", "partial"],
)
def test_a_persistent_object_may_sit_anywhere(stored, other, wrap, unwrap):
    found = unwrap(travel(wrap(stored), other))

    assert found._p_jar is other.to(stored._p_jar.db())
    assert found.name == "name"


def test_databases_that_know_each_other_are_reached_through_one(other):
    databases = {}
    one = DB(MappingStorage(), databases=databases, database_name="one")
    DB(MappingStorage(), databases=databases, database_name="two")
    connection = one.open()
    both = [connection.root(), connection.get_connection("two").root()]
    first, second = (found._p_jar for found in travel(both, other))
    connection.close()

    assert first.db() is one
    assert second is first.get_connection("two")


def test_what_is_not_saved_does_not_travel(stored, other):
    stored.name = "changed"
    dumped = dump(stored, ThreadConnections())
    assert dumped.load(other).name == "name"
    transaction.commit()
    other.transaction_manager.begin()

    assert dumped.load(other).name == "changed"


def test_an_object_that_was_added_by_hand_counts_as_stored(connection, other):
    product = shop.Product("added")
    connection.add(product)
    connection.root()["product"] = product
    dumped = dump(product, ThreadConnections())
    transaction.commit()

    assert dumped.load(other).name == "added"


def test_an_object_whose_savepoint_was_rolled_back_is_new_again(connection):
    savepoint = transaction.savepoint()
    product = connection.root()["product"] = shop.Product("new")
    transaction.savepoint()
    dump(product, ThreadConnections())
    savepoint.rollback()
    with pytest.raises(NotTransferable, match="is new"):
        dump(product, ThreadConnections())


def test_a_connection_that_somebody_else_has_now_is_foreign(db, other):
    connection = db.open()
    stale = connection.root()
    connection.close()
    assert other.to(db) is connection
    with pytest.raises(NotTransferable, match="another thread, request"):
        dump(stale, ThreadConnections())


def test_an_explicit_manager_dumps_its_own(db, other):
    manager = transaction.TransactionManager(explicit=True)
    connection = db.open(manager)
    manager.begin()
    root = connection.root()
    with pytest.raises(NotTransferable, match="transaction manager"):
        dump(root, ThreadConnections())
    arrived = dump(root, OpenedConnections(manager)).load(other)
    manager.abort()
    connection.close()

    assert arrived._p_jar is other.to(db)


def test_a_tree_is_one_reference(connection, other):
    tree = connection.root()["tree"] = OOBTree({n: n for n in range(1000)})
    transaction.commit()
    dumped = dump(tree, ThreadConnections())

    assert len(dumped.data) < 100
    assert list(dumped.load(other)) == list(range(1000))


def test_a_ghost_travels_without_being_loaded(stored, other):
    stored._p_deactivate()
    dump(stored, ThreadConnections())

    assert stored._p_state == -1


def test_an_object_of_a_closed_connection_is_refused(db):
    with db.transaction() as connection:
        stale = connection.root()
    with pytest.raises(NotTransferable, match="connection that is closed"):
        dump(stale, ThreadConnections())


def test_an_object_of_somebody_elses_connection_is_refused(stored, other):
    foreign = other.to(stored._p_jar.db()).root()
    with pytest.raises(NotTransferable, match="another thread, request"):
        dump(foreign, ThreadConnections())


def test_objects_of_unrelated_databases_are_kept_apart(stored, other):
    stranger = DB(MappingStorage())
    connection = stranger.open()
    arrived = travel([stored, connection.root(), stored], other)
    connection.close()

    assert arrived[0]._p_jar.db() is arrived[2]._p_jar.db()
    assert arrived[1]._p_jar.db() is stranger
    assert arrived[1]._p_oid == b"\0" * 8


def test_a_new_object_is_good_enough_until_the_end():
    product = shop.Product("new")
    envelopes.dump([product], ThreadConnections())
    with pytest.raises(NotTransferable, match="is new, and was not stored"):
        dump([product], ThreadConnections())


def test_a_context_arrives_with_its_references(stored, other):
    context = PersistentContext(stored)

    one, two = travel([context, {"again": context}], other)

    assert one is two["again"]
    with use_connections(other):
        assert one[0]._p_oid == stored._p_oid
        assert one[0]._p_jar is other.to(stored._p_jar.db())


def test_an_object_that_is_gone_is_told_as_such(stored, other, db):
    dumped = dump(stored, ThreadConnections())
    del stored._p_jar.root()["product"]
    transaction.commit()
    db.pack()
    with pytest.raises(JobNotLoadable, match=r"oid 0x.* was deleted") as e:
        dumped.load(other)
    assert isinstance(e.value.__cause__, POSKeyError)


@pytest.mark.parametrize("rest", ["module", "nothing"])
def test_code_that_is_gone_is_told_as_such(other, monkeypatch, rest):
    module = types.ModuleType("short_lived")
    exec("class Thing: pass", module.__dict__)
    monkeypatch.setitem(sys.modules, "short_lived", module)
    dumped = dump(module.Thing(), ThreadConnections())
    if rest == "module":
        del module.Thing
    else:
        monkeypatch.delitem(sys.modules, "short_lived")
    with pytest.raises(JobNotLoadable, match="Code that the job refers to"):
        dumped.load(other)


class Unlucky:
    def __getstate__(self):
        raise ConflictError


def test_a_conflict_while_pickling_stays_a_conflict():
    with pytest.raises(ConflictError):
        dump(Unlucky(), ThreadConnections())


class OwnContext(PersistentContext):
    """A context with something of its own."""

    def __init__(self, product):
        super().__init__(product)
        self.product = product


def test_what_a_kind_of_context_holds_beside_travels_as_well(stored, other):
    arrived = travel(OwnContext(stored), other)

    assert arrived.product is not stored
    assert arrived.product._p_jar is other.to(stored._p_jar.db())


def test_the_helper_for_sessions_is_refused_in_favour_of_the_root(connection):
    with pytest.raises(NotTransferable, match=r"pass connection\.root\(\)"):
        dump([connection.root], ThreadConnections())


class Talkative:
    """Something whose pickling says what it should not."""

    def __getstate__(self):
        raise ValueError("the password")


def test_what_others_say_is_kept_apart():
    with pytest.raises(NotTransferable) as caught:
        dump(Talkative(), ThreadConnections())

    assert str(caught.value) == "it cannot be pickled (ValueError)"
    assert caught.value.foreign == ": the password"


class Broken:
    """Something that cannot be loaded."""

    def __setstate__(self, state):
        raise AttributeError("the password")

    def __getstate__(self):
        return {"a": 1}


def test_an_error_of_others_while_loading_is_theirs(other):
    with pytest.raises(AttributeError, match="the password"):
        travel(Broken(), other)


# -- Weak references ----------------------------------------------------------


def test_a_weak_reference_stays_one(stored, other):
    weak, strong = travel([WeakRef(stored), stored], other)

    assert type(weak) is WeakRef
    assert weak() is strong
    assert weak.database_name == stored._p_jar.db().database_name


def test_a_weak_reference_to_a_new_object_is_found_when_that_is_stored(
    connection, other
):
    product = shop.Product("new")
    envelope = envelopes.dump(WeakRef(product), ThreadConnections())
    with pytest.raises(NotTransferable, match="is new, and was not stored"):
        resolved(envelope)
    connection.root()["product"] = product
    transaction.commit()

    assert resolved(envelope).load(other)().name == "new"


def test_a_weak_reference_does_not_keep_its_object(stored, other, db):
    dumped = dump(WeakRef(stored), ThreadConnections())
    del stored._p_jar.root()["product"]
    transaction.commit()
    db.pack()

    assert dumped.load(other)() is None


# -- What is beside the pickle ------------------------------------------------


def test_plain_values_cost_no_call_of_ours(monkeypatch):
    """The hook of a pickler is called for no builtin."""
    called = []
    monkeypatch.setattr(envelopes, "refuse_helper", called.append)
    envelopes.dump([{"a": (1, "two", 3.0, b"4", None)}], ThreadConnections())
    assert called == []
    envelopes.dump([fractions.Fraction(1)], ThreadConnections())
    assert called == [fractions.Fraction(1)]


def test_an_object_is_beside_the_pickle_once(stored):
    envelope = envelopes.dump(
        [stored, {"a": stored}, (stored,)], ThreadConnections()
    )

    assert envelope.objects == (stored,)


def test_a_pickle_without_its_envelope_is_useless(stored):
    data, _ = envelopes.dump([stored], ThreadConnections())
    with pytest.raises(LookupError, match="no part 0"):
        pickle.loads(data)


def wrapped(product):
    """Give wrappers of an object, as Acquisition makes them."""
    container = InContext("container")
    return [product.__of__(container), product.__of__(container)]


class InContext(Acquisition.Implicit, Persistent):
    """A persistent object with a context."""

    def __init__(self, name):
        self.name = name


def test_wrappers_of_an_object_are_the_object(connection, other):
    product = connection.root()["wrapped"] = InContext("product")
    transaction.commit()
    wrappers = wrapped(product)
    assert wrappers[0] is not wrappers[1]
    envelope = envelopes.dump(wrappers, ThreadConnections())
    one, two = resolved(envelope).load(other)

    assert envelope.objects == (product,)
    assert type(envelope.objects[0]) is InContext
    assert one is two
    assert type(one) is InContext


# -- Exceptions ---------------------------------------------------------------


class Unlike(Exception):
    """An error whose pickle has other arguments than its class takes."""

    def __init__(self, title, number):
        super().__init__(f"{number} of {title}")


def test_an_exception_that_could_not_be_loaded_is_refused_before(stored):
    with pytest.raises(NotTransferable) as caught:
        envelopes.dump([stored, Unlike("Emma", 2)], ThreadConnections())

    assert str(caught.value) == "its pickle cannot be loaded (TypeError)"
    assert "missing 1 required positional argument" in caught.value.foreign


# -- Classes ------------------------------------------------------------------


class Shelf:
    """A class with another inside."""

    class Place:
        """Where a book is."""

        def __eq__(self, other):
            return type(self) is type(other)

        __hash__ = None


class Rack(Shelf):
    """What has become of it."""


def test_classes_are_found_as_the_database_finds_them(db, connection):
    envelope = envelopes.dump(
        [Shelf(), Shelf.Place(), same, fractions.Fraction(1)],
        ThreadConnections(),
    )
    asked = []

    def factory(jar, module, name):
        asked.append((jar, name))
        return Rack if name == "Shelf" else find_global(module, name)

    db.classFactory = factory
    shelf, place, found, number = envelopes.load(*envelope, connection)

    assert (type(shelf), place, number) == (Rack, Shelf.Place(), 1)
    assert found is same
    assert {jar for jar, _ in asked} == {connection}
    assert {name for _, name in asked} == {"Shelf", "same", "Fraction"}


@pytest.mark.parametrize("own_factory", [False, True])
@pytest.mark.parametrize("name", ["Shelf", "Shelf.Place"])
def test_a_class_that_is_gone_is_named(
    db, connection, monkeypatch, own_factory, name
):
    made = Shelf() if name == "Shelf" else Shelf.Place()
    envelope = envelopes.dump([made], ThreadConnections())
    module = sys.modules[__name__]
    if own_factory:
        db.classFactory = lambda jar, module, name: find_global(module, name)
    if name == "Shelf":
        monkeypatch.delattr(module, "Shelf")
    else:
        monkeypatch.delattr(module.Shelf, "Place")
    with pytest.raises(JobNotLoadable, match=f"test_envelopes:{name}"):
        envelopes.load(*envelope, connection)


@implementer(IDict)
class Told(dict):
    """A dict that says what it is."""


def test_what_implements_another_interface_is_not_refused(other):
    assert travel(Told(a=1), other) == {"a": 1}


class Passing(Persistent):
    """A class of persistent objects that will be gone."""


def test_a_persistent_object_whose_class_is_gone_is_told_as_such(
    connection, other, monkeypatch
):
    passing = connection.root()["passing"] = Passing()
    transaction.commit()
    dumped = dump([passing], ThreadConnections())
    monkeypatch.delattr(sys.modules[__name__], "Passing")
    with pytest.raises(JobNotLoadable, match="test_envelopes:Passing"):
        dumped.load(other)
