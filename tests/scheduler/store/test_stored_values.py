"""What the database keeps of values: plain ones, and all others."""

import enum
import functools
import sys
import threading
import types
from typing import NamedTuple

import pytest
import shop
import transaction
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
from pyramid_zodb_async.jobs.model import JobState
from pyramid_zodb_async.scheduler.records import StoredCall
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
        "runner",
        "attempt",
    }
    assert process.view(sid) is None


@pytest.mark.parametrize("value", [[1], {1: 2}, "x" * 2000, shop.Gate])
def test_what_is_not_small_and_plain_is_apart(process, connection, value):
    sid = process.schedule(shop.give, value)

    assert isinstance(record_of(connection, sid).call, StoredCall)
    process.run()
    record = record_of(connection, sid)
    assert (record.value, record.outcome.value) == (None, value)
    assert fetch(process, sid) == (value, None)


def test_arguments_are_what_the_transaction_has_made_of_them(process):
    products = ["book"]
    with transaction.manager:
        sid = process.scheduler.schedule(shop.give, products)
        products.append("pen")
    process.run()

    assert process.view(sid).result == ["book", "pen"]


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
