"""What the database keeps of values: plain ones, and all others."""

import enum
import functools
import sys
import threading
import types
from typing import NamedTuple

import Acquisition
import pytest
import shop
import transaction
from BTrees.OOBTree import OOBTree
from hand_driven import Process
from persistent import Persistent
from persistent.wref import WeakRef
from ZODB.broken import find_global
from ZODB.DB import DB
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ConflictError

from pyramid_zodb_async import (
    ArgumentNotTransferable,
    JobError,
    PersistentContext,
    current_job,
)
from pyramid_zodb_async.database.connections import ThreadConnections
from pyramid_zodb_async.jobs.model import JobState
from pyramid_zodb_async.scheduler.contents import (
    StoredEnvelope,
    load_arguments,
    load_form,
)
from pyramid_zodb_async.scheduler.store.stored_values import (
    is_small_and_plain,
    storable_arguments,
    storable_function,
)
from pyramid_zodb_async.transfer.callables import callable_of


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


def method_of(product):
    return product.rename


def partial_of(product):
    return functools.partial(rename, product)


def rename(product, name):
    """Rename a product."""
    return product.rename(name)


@pytest.mark.parametrize("make", [method_of, partial_of])
def test_a_callable_is_stored_with_its_object(process, product, make):
    sid = process.schedule(make(product), "renamed")
    process.run()

    assert process.view(sid).result == "renamed"
    assert product.name == "renamed"


def record_of(connection, sid):
    """Give the record of a job."""
    transaction.begin()
    return connection.root()["pyramid_zodb_async"].find(sid)


def fetch(process, sid):
    """Fetch the outcome of a job."""
    transaction.begin()
    return process.scheduler.get_result(sid)


def count_all(*args, **named_args):
    """Count what is given, by kinds."""
    return len(args), sorted(named_args)


def test_a_small_plain_call_and_result_are_part_of_the_record(
    process, connection
):
    sid = process.schedule(count_all, 1, ("two", b"3"), four=None, five=5.0)

    record = record_of(connection, sid)
    assert record.call == (
        "test_stored_values:count_all",
        (1, ("two", b"3")),
        (("four", None), ("five", 5.0)),
    )
    process.run()
    assert process.view(sid).result == (2, ["five", "four"])
    sid = process.schedule(shop.give, (2, "two"))
    process.run()
    record = record_of(connection, sid)
    assert (record.value, record.outcome) == ((2, "two"), None)
    assert fetch(process, sid) == ((2, "two"), None)


def test_next_to_nothing_is_left_of_a_job_whose_outcome_was_fetched(
    process, connection
):
    sid = process.schedule(shop.give, "private")
    process.run()
    record = record_of(connection, sid)
    fetch(process, sid)
    transaction.commit()
    transaction.begin()
    record._p_activate()

    assert set(vars(record)) == {
        "function",
        "scheduled",
        "state",
        "secret",
        "runner",
        "attempt",
    }
    assert process.view(sid) is None


def kind_of(stored):
    """Tell where a record has a call or a result."""
    if isinstance(stored, tuple):
        return "record" if len(stored) == 2 else "plain"
    return "apart" if isinstance(stored, StoredEnvelope) else None


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ([1], "record"),
        ({1: 2}, "record"),
        (shop.Gate, "record"),
        ("x" * 2000, "apart"),
        (["x" * 2000], "apart"),
    ],
)
def test_what_is_not_plain_is_in_an_envelope_and_apart_if_it_is_large(
    process, connection, value, kind
):
    sid = process.schedule(shop.give, value)

    assert kind_of(record_of(connection, sid).call) == kind
    process.run()
    record = record_of(connection, sid)
    assert (record.value, kind_of(record.outcome)) == (None, kind)
    assert fetch(process, sid) == (value, None)


@pytest.mark.parametrize(("number", "kind"), [(20, "record"), (21, "apart")])
def test_a_record_refers_to_few_objects(process, connection, number, kind):
    products = [shop.Product(f"number {n}") for n in range(number)]
    sid = process.schedule(shop.give, products)
    process.run()

    assert kind_of(record_of(connection, sid).outcome) == kind
    found = process.view(sid).result
    assert [it.name for it in found] == [it.name for it in products]


class WithNew(Persistent):
    """An object whose class is not in references to it."""

    def __new__(cls, number=0):
        made = super().__new__(cls)
        made.number = number
        return made

    def __getnewargs__(self):
        return (5,)


def test_a_record_refers_to_no_object_that_is_loaded_with_it(
    process, connection
):
    sid = process.schedule(shop.give, [WithNew(5)])

    assert kind_of(record_of(connection, sid).call) == "apart"
    process.run()
    assert process.view(sid).result[0].number == 5


def test_arguments_are_what_they_were_when_the_job_was_scheduled(process):
    products = ["book"]
    with transaction.manager:
        sid = process.scheduler.schedule(shop.give, products)
        products.append("pen")
    process.run()

    assert process.view(sid).result == ["book"]


def test_objects_are_what_the_transaction_has_made_of_them(process, product):
    new = shop.Product("new")
    with transaction.manager:
        sid = process.scheduler.schedule(shop.give, [product, new])
        product.name = "pen"
        new.name = "newer"
    process.run()

    assert [it.name for it in process.view(sid).result] == ["pen", "newer"]


class Counter:
    """Callable, with static and class methods."""

    def __init__(self, start=0):
        self.count = start

    def __call__(self):
        self.count += 1
        return self.count

    @staticmethod
    def static(value):
        return "static", value

    @classmethod
    def of_class(cls, value):
        return cls.__name__, value

    def method(self, value):
        return self.count + value


class Heir(Counter):
    """Inherits them."""


@pytest.mark.parametrize(
    ("function", "args", "result"),
    [
        (Counter.static, (1,), ("static", 1)),
        (Counter.of_class, (1,), ("Counter", 1)),
        (Heir.of_class, (1,), ("Heir", 1)),
        (Counter(5).method, (1,), 6),
        (Counter(5), (), 6),
        (len, ("abc",), 3),
        (dict, ([(1, 2)],), {1: 2}),
        (functools.partial(shop.give, "given"), (), "given"),
    ],
)
def test_many_kinds_of_callables_can_be_stored(
    process, function, args, result
):
    sid = process.schedule(function, *args)
    process.run()

    assert process.view(sid).result == result


def forged(name="nothing", module="shop", qualname=None):
    """Make a function that claims to be another one."""

    def function():
        """Do nothing."""

    function.__name__ = name
    function.__qualname__ = qualname or name
    function.__module__ = module
    return function


class Hidden(Persistent):
    """An object that has a method under another name."""

    def __init__(self):
        self.other = forged("method").__get__(self)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: None, "lambda or inner function"),
        (forged(), "it is not what shop:nothing is"),
        (forged("missing"), "it is not what shop:missing is"),
        (forged(module="__main__"), "__main__"),
        (types.MethodType(forged("ghost"), Counter()), "no method 'ghost'"),
        (types.MethodType(forged("ghost"), Counter), "cannot be imported"),
        (types.MethodType(forged("method"), Counter), "it is not what test_"),
    ],
)
def test_what_another_process_would_not_find_is_refused(
    process, function, message
):
    with pytest.raises(TypeError, match=message):
        process.scheduler.schedule(function)
    assert process.scheduler.unfinished() == []


def test_a_function_of_main_is_refused_though_it_is_found(
    process, monkeypatch
):
    function = forged("work", module="__main__")
    monkeypatch.setattr(sys.modules["__main__"], "work", function, False)

    with pytest.raises(TypeError, match="use a function of a module"):
        process.scheduler.schedule(function)


def test_new_and_weakly_held_objects_are_stored_with_the_job(process, product):
    sid = process.schedule(shop.give, [shop.Product("new"), WeakRef(product)])
    process.run()
    new, weak = process.view(sid).result

    assert new.name == "new"
    assert weak().name == "book"


def test_arguments_and_results_survive_a_pack(process, db, connection):
    connection.root()["product"] = product = shop.Product("book")
    transaction.commit()
    sid = process.schedule(shop.give, product)
    del connection.root()["product"]
    transaction.commit()
    db.pack()
    process.run()
    db.pack()
    db.cacheMinimize()

    assert process.view(sid).result.name == "book"


def test_a_plain_argument_is_fresh_in_each_attempt(process):
    shop.attempts.clear()
    sid = process.schedule(append_and_conflict, [])
    process.run(sid)
    process.run(sid)

    assert process.view(sid).result == ["appended"]


def append_and_conflict(words):
    """Change the argument; conflict the first time."""
    words.append("appended")
    shop.attempts.append(words)
    if len(shop.attempts) == 1:
        raise ConflictError
    return words


def test_a_result_is_fresh_for_each_reader(process):
    sid = process.schedule(shop.give, ["result"])
    process.run()
    view = process.view(sid)
    view.result.append("changed by a reader")

    assert view.result == ["result"]


@pytest.mark.parametrize("xrefs", [True, False])
def test_an_object_of_another_database_needs_leave(tmp_path, xrefs):
    databases = {}
    main = DB(
        FileStorage(str(tmp_path / "main.fs")),
        database_name="main",
        databases=databases,
        xrefs=xrefs,
    )
    DB(
        FileStorage(str(tmp_path / "other.fs")),
        database_name="other",
        databases=databases,
    )
    process = Process(main)
    connection = main.open()
    there = connection.get_connection("other")
    there.root()["product"] = product = shop.Product("there")
    transaction.commit()
    if xrefs:
        sid = process.scheduler.schedule(shop.give, product)
        transaction.commit()
        process.run()
        assert process.view(sid).result.name == "there"
    else:
        with pytest.raises(ArgumentNotTransferable, match="may not refer"):
            process.scheduler.schedule(shop.give, product)
    transaction.abort()
    process.stop()
    connection.close()
    for db in databases.values():
        db.close()


def test_a_new_object_needs_a_database_where_there_are_several(tmp_path):
    databases = {}
    for name in ("main", "other"):
        DB(
            FileStorage(str(tmp_path / name)),
            database_name=name,
            databases=databases,
        )
    process = Process(databases["main"])
    connection = databases["main"].open()
    there = connection.get_connection("other")
    product = shop.Product("new")
    with pytest.raises(ArgumentNotTransferable, match="several databases"):
        process.scheduler.schedule(shop.give, product)
    there.root()["product"] = product
    transaction.savepoint()
    with pytest.raises(ArgumentNotTransferable, match="is new in the data"):
        process.scheduler.schedule(shop.give, product)
    transaction.abort()
    there.add(product)
    there.root()["product"] = product
    sid = process.scheduler.schedule(shop.give, product)
    transaction.commit()
    process.run()

    assert process.view(sid).result.name == "new"
    transaction.abort()
    process.stop()
    connection.close()
    for db in databases.values():
        db.close()


@pytest.mark.parametrize(
    "argument",
    [threading.Lock(), lambda: None, (_ for _ in ())],
)
def test_what_the_database_cannot_store_is_refused_by_its_place(
    process, argument
):
    with pytest.raises(ArgumentNotTransferable, match="Argument 2 of shop:"):
        process.scheduler.schedule(shop.Product, "name", argument)


def vanish():
    """Be there when the job is scheduled."""


class Vanishing:
    """A class that is there when the job is scheduled."""


class VanishingPersistent(Persistent):
    """Another one."""


@pytest.fixture
def module(monkeypatch):
    """Give a module whose parts can be deleted."""
    made = types.ModuleType("vanishing")
    monkeypatch.setitem(sys.modules, "vanishing", made)
    for part in (vanish, Vanishing, VanishingPersistent):
        copy = type(part)(
            *(
                (part.__code__, {}, part.__name__)
                if part is vanish
                else (part.__name__, part.__bases__, {})
            )
        )
        copy.__module__ = "vanishing"
        copy.__qualname__ = part.__name__
        setattr(made, part.__name__, copy)
    return made


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("vanish", lambda part: (part,)),
        ("Vanishing", lambda part: (part,)),
        ("Vanishing", lambda part: (shop.give, part)),
        ("Vanishing", lambda part: (shop.give, [{"deep": part()}])),
        ("vanish", lambda part: (shop.give, part)),
        ("vanish", lambda part: (functools.partial(part),)),
        ("VanishingPersistent", lambda part: (shop.give, part())),
    ],
)
def test_what_was_renamed_while_the_job_waited_fails_it_by_name(
    process, db, module, name, arguments
):
    sid = process.schedule(*arguments(getattr(module, name)))
    delattr(module, name)
    db.cacheMinimize()
    process.run()
    view = process.view(sid)

    assert view.state is JobState.FAILED
    assert view.failure.type == "JobNotLoadable"
    assert f"vanishing:{name}" in view.failure.message


def test_where_there_is_no_such_module_two_applications_are_thought_of(
    process, module, monkeypatch
):
    sid = process.schedule(module.vanish)
    monkeypatch.delitem(sys.modules, "vanishing")
    process.run()
    failure = process.view(sid).failure

    assert failure.type == "JobNotLoadable"
    assert "vanishing:vanish" in failure.message
    assert "each needs a zodb_async.store of its own" in failure.message


def test_a_method_that_is_gone_fails_the_job(process, product, monkeypatch):
    sid = process.schedule(product.rename, "new name")
    monkeypatch.delattr(shop.Product, "rename")
    process.run()

    assert "no method 'rename'" in process.view(sid).failure.message


def test_what_cannot_be_called_any_more_fails_the_job(process, module):
    sid = process.schedule(module.vanish)
    module.vanish = "a text"
    process.run()

    assert "cannot be called" in process.view(sid).failure.message


def test_a_result_whose_class_is_gone_is_told_as_such(process, db, module):
    sid = process.schedule(module.Vanishing)
    process.run()
    del module.Vanishing
    db.cacheMinimize()
    view = process.view(sid)

    with pytest.raises(JobError, match="vanishing:Vanishing"):
        _ = view.result


def test_an_exception_whose_class_is_gone_has_a_stand_in(
    process, module, monkeypatch
):
    class Gone(Exception):
        __module__ = "vanishing"
        __qualname__ = "Gone"

    module.Gone = Gone
    sid = process.schedule(raise_by_name)
    process.run()
    del module.Gone
    transaction.begin()
    value, error = process.scheduler.get_result(sid)

    assert value is None
    assert type(error) is JobError
    assert "cannot be loaded any more" in str(error)


def raise_by_name():
    """Raise an exception of the module that will change."""
    raise sys.modules["vanishing"].Gone("text")


def test_a_context_finds_its_objects_in_a_stored_job(process, product):
    sid = process.schedule(read_first, PersistentContext(product))
    process.run()

    assert process.view(sid).result == "book"


def read_first(context):
    """Read an object of a context."""
    return context[0].name


def test_an_object_of_a_second_connection_is_refused(process, db, product):
    transaction.begin()
    process.scheduler.get("unknown")  # which uses a connection of its own
    with pytest.raises(ArgumentNotTransferable, match="another connection"):
        process.scheduler.schedule(shop.give, product)


class Task(NamedTuple):
    """A callable that is a tuple."""

    product: object
    action: str

    def __call__(self):
        return "task", self.action


class Named(str):
    """A callable that is a text."""

    __slots__ = ()

    def __call__(self):
        return "named", str(self)


@pytest.mark.parametrize(
    ("function", "result"),
    [
        (Task("product", "rename"), ("task", "rename")),
        (Named("shop:nothing"), ("named", "shop:nothing")),
    ],
)
def test_a_callable_is_called_itself_whatever_it_looks_like(
    process, function, result
):
    sid = process.schedule(function)
    process.run()

    assert process.view(sid).result == result


class OddNumber(int):
    """A number of a class that cannot be stored."""

    def __reduce__(self):
        raise TypeError


class OddText(str):
    """A text of such a class."""

    __slots__ = ()

    def __reduce__(self):
        raise TypeError


class OddError(JobError):
    """An error with such a text."""

    def __str__(self):
        return OddText("odd")


def tell_odd_progress():
    """Tell of progress in odd units."""
    current_job().progress(OddNumber(1), OddNumber(2), OddText("odd"))


def raise_odd_error():
    """Raise an error with an odd text."""
    raise OddError


@pytest.mark.parametrize("function", [tell_odd_progress, raise_odd_error])
def test_numbers_and_texts_are_stored_as_plain_ones(process, function):
    sid = process.schedule(function)
    assert process.run() is None
    view = process.view(sid)
    texts = [view.progress and view.progress.message, view.failure]

    assert view.done
    if view.failure:
        assert type(view.failure.message) is str
    else:
        assert [type(view.progress.done), type(texts[0])] == [int, str]


def test_a_weak_reference_is_no_broken_object(process, product):
    find_global("gone.module", "Gone")
    sid = process.schedule(shop.give, [WeakRef(product)])
    process.run()

    assert process.view(sid).result[0]().name == "book"


def test_an_outcome_that_cannot_be_loaded_is_not_forgotten(
    process, db, module
):
    sid = process.schedule(module.Vanishing)
    process.run()
    kind = module.Vanishing
    del module.Vanishing
    db.cacheMinimize()
    transaction.begin()
    with pytest.raises(JobError, match="vanishing:Vanishing"):
        process.scheduler.get_result(sid)
    transaction.commit()
    module.Vanishing = kind
    db.cacheMinimize()
    transaction.begin()

    assert type(process.scheduler.get_result(sid)[0]) is kind


def test_callables_that_refer_to_main_are_refused(process, monkeypatch):
    function = forged("work", module="__main__")
    monkeypatch.setattr(sys.modules["__main__"], "work", function, False)
    kind = type("Kind", (Counter,), {"__module__": "__main__"})
    for refused, *args in (
        [functools.partial(function)],
        [kind()],
        [kind().method, 1],
    ):
        with pytest.raises(TypeError, match="another __main__"):
            process.scheduler.schedule(refused, *args)


def with_parts(*parts):
    """Make a new product that holds others."""
    product = shop.Product("outer")
    product.parts = [product, *parts]
    return product


def test_new_objects_are_looked_into(process, db):
    stranger = db.open(transaction.TransactionManager())
    foreign = stranger.root()["foreign"] = shop.Product("foreign")
    stranger.transaction_manager.commit()
    for part in (lambda: None, foreign, with_parts(threading.Lock())):
        with pytest.raises(ArgumentNotTransferable, match="Argument 1 of sho"):
            process.scheduler.schedule(shop.give, with_parts(part))
    stranger.close()
    sid = process.schedule(shop.give, with_parts(with_parts()))
    process.run()
    outer = process.view(sid).result

    assert outer.parts[0] is outer
    assert outer.parts[1].parts[0] is outer.parts[1]


def test_a_new_object_may_hold_a_weak_reference(process, product):
    sid = process.schedule(shop.give, with_parts(WeakRef(product)))
    process.run()

    assert process.view(sid).result.parts[1]().name == "book"


# -- Arguments and functions by themselves ------------------------------------


def stored(connection, value):
    """Store a value as a record has it, and load it by another connection."""
    connection.root()["stored"] = (value,)
    transaction.commit()
    connection.cacheMinimize()
    (found,) = connection.root()["stored"]
    return found


@pytest.mark.parametrize(
    ("args", "kind"),
    [
        ((1, "two"), "plain"),
        (([1], "two"), "envelope"),
        (("x" * 2000,), "apart"),
    ],
)
def test_arguments_can_be_stored_without_their_function(
    connection, args, kind
):
    made = storable_arguments(
        shop.give, args, {"a": 1}, ThreadConnections(), connection.db()
    )
    found = stored(connection, made)

    assert load_arguments(found, connection) == (args, {"a": 1})
    if kind == "plain":
        assert found == (args, (("a", 1),))
    else:
        assert isinstance(found, tuple) == (kind == "envelope")


def test_arguments_without_their_function_are_refused_by_their_names(
    connection,
):
    with pytest.raises(ArgumentNotTransferable, match="Argument 2 of shop:"):
        storable_arguments(
            shop.give,
            (1, threading.Lock()),
            {},
            ThreadConnections(),
            connection.db(),
        )


@pytest.mark.parametrize(
    "make", [lambda product: rename, method_of, partial_of]
)
def test_functions_can_be_stored_without_arguments(connection, product, make):
    function = make(product)
    made = storable_function(function, ThreadConnections(), connection.db())
    found = load_form(stored(connection, made), connection)
    called = callable_of(found)

    if called is rename:
        assert made == "test_stored_values:rename"
    else:
        assert called("new name") == "new name"
    assert connection.root()["product"].name in {"book", "new name"}


def test_a_function_that_holds_what_cannot_travel_is_refused(connection):
    function = functools.partial(shop.give, threading.Lock())
    with pytest.raises(ArgumentNotTransferable, match="cannot be a job"):
        storable_function(function, ThreadConnections(), connection.db())


# -- Savepoints ---------------------------------------------------------------


@pytest.mark.parametrize("large", [False, True])
def test_a_new_object_is_as_the_transaction_leaves_it_after_a_rollback(
    process, connection, product, large
):
    """The savepoint has stored it; what came later is taken back."""
    with transaction.manager:
        new = connection.root()["new"] = shop.Product("first")
        text = "x" * 2000 * large
        sid = process.scheduler.schedule(shop.give, [new, text, product])
        savepoint = transaction.savepoint()
        new.name = "second"
        transaction.savepoint()
        savepoint.rollback()
    process.run()

    assert process.view(sid).result[0].name == "first"


def test_an_object_of_a_rolled_back_savepoint_is_stored_once_more(
    process, connection
):
    with transaction.manager:
        savepoint = transaction.savepoint()
        new = connection.root()["new"] = shop.Product("new")
        transaction.savepoint()
        savepoint.rollback()
        sid = process.scheduler.schedule(shop.give, [new])
    process.run()

    assert process.view(sid).result[0].name == "new"


def test_a_job_of_a_rolled_back_savepoint_leaves_its_objects_alone(
    process, connection, product
):
    with transaction.manager:
        savepoint = transaction.savepoint()
        process.scheduler.schedule(shop.give, [product, shop.Product("new")])
        savepoint.rollback()
        sid = process.scheduler.schedule(shop.give, [product])
    process.run()

    assert process.scheduler.unfinished() == []
    assert process.view(sid).result[0].name == "book"


# -- What objects are, and where ----------------------------------------------


def are_one(first, others):
    """Tell whether all are one object, and where it is stored."""
    return all(first is other for other in others), first._p_jar is not None


def new_product():
    return shop.Product("new")


@pytest.mark.parametrize("make", [new_product, WithNew, OOBTree])
def test_an_object_that_is_passed_often_stays_one(process, make):
    new = make()
    sid = process.schedule(are_one, new, [new, new])
    process.run()

    assert process.view(sid).result == (True, True)


def test_a_tree_arrives_as_the_tree(process, connection):
    tree = connection.root()["tree"] = OOBTree({n: n for n in range(1000)})
    transaction.commit()
    sid = process.schedule(add_to, tree, [tree])
    process.run()
    transaction.begin()

    assert process.view(sid).result == 1001
    assert len(connection.root()["tree"]) == 1001


def add_to(tree, trees):
    """Add to a tree that is passed twice."""
    tree[1000] = 1000
    return len(trees[0])


def test_a_wrapper_is_stored_as_its_object(process, connection):
    product = connection.root()["product"] = InContext("product")
    container = connection.root()["container"] = InContext("container")
    transaction.commit()
    sid = process.schedule(names_of, product.__of__(container))
    new = InContext("new").__of__(container)
    other = process.schedule(names_of, new)
    process.run()
    process.run()

    assert process.view(sid).result == ("InContext", "product")
    assert process.view(other).result == ("InContext", "new")


class InContext(Acquisition.Implicit, Persistent):
    """A persistent object with a context."""

    def __init__(self, name):
        self.name = name


def names_of(value):
    """Tell an object and its class."""
    return type(value).__name__, value.name


def test_an_object_of_another_database_is_kept_apart(tmp_path):
    """Else the record could not be read where that database is missing."""
    databases = {}
    for name in ("main", "other"):
        DB(
            FileStorage(str(tmp_path / name)),
            database_name=name,
            databases=databases,
        )
    process = Process(databases["main"])
    connection = databases["main"].open()
    there = connection.get_connection("other")
    there.root()["product"] = product = shop.Product("there")
    transaction.commit()
    kinds = [
        kind_of(record_of(connection, process.schedule(shop.give, value)).call)
        for value in ([product], [WeakRef(product)])
    ]
    process.run()
    process.run()
    transaction.abort()
    process.stop()
    connection.close()
    for db in databases.values():
        db.close()

    assert kinds == ["apart", "apart"]


def test_a_context_in_a_result_knows_its_database(process, product):
    sid = process.schedule(PersistentContext, product)
    process.run()

    assert process.view(sid).result[0].name == "book"


# -- Classes that were renamed ------------------------------------------------


def test_a_class_is_found_by_the_class_factory_of_the_database(
    process, db, module
):
    sid = process.schedule(kind_of_all, [module.Vanishing()])
    del module.Vanishing
    db.classFactory = lambda jar, module, name: find_global(
        "test_stored_values", "Counter" if name == "Vanishing" else name
    )
    process.run()

    assert process.view(sid).result == ("Counter",)


def kind_of_all(values):
    """Tell the classes of values."""
    return tuple(type(value).__name__ for value in values)


def test_a_result_is_not_there_before_the_commit_of_its_objects(process):
    asked.clear()
    asked.append(process.scheduler)
    sid = process.schedule(ask_at_the_end)
    process.run()

    assert asked == [process.scheduler, None]
    assert process.view(sid).result[0].name == "new"


#: Whom a job asks, and what it is told.
asked = []


def ask_at_the_end():
    """Ask for the own result when it has been recorded."""
    transaction.get().addBeforeCommitHook(ask, (current_job().sid,))
    return [shop.Product("new")]


def ask(sid):
    """Ask for a result."""
    scheduler, *_ = asked
    asked.append(scheduler.get(sid).result)
