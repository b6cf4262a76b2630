"""What a job calls."""

import asyncio
import functools
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
import shop
import transaction

from pyramid_zodb_async import transactional
from pyramid_zodb_async.database.connections import ThreadConnections
from pyramid_zodb_async.exceptions import ArgumentNotTransferable
from pyramid_zodb_async.scheduler.in_memory.call import Call
from pyramid_zodb_async.transfer.callables import callable_of, function_name


def call(function, *args, **named):
    return Call(function, args, named, ThreadConnections())


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (shop.give, "shop:give"),
        (shop.Product, "shop:Product"),
        (shop.Gate().open, "shop:Gate.open"),
        (functools.partial(shop.give, 1), "shop:give"),
        (functools.partial(functools.partial(shop.give), 1), "shop:give"),
        (functools.partial, "functools:partial"),
        (max, "builtins:max"),
        (shop.add_transactionally, "shop:add_transactionally"),
    ],
)
def test_functions_have_names_for_people(function, name):
    assert function_name(function) == name


class Callable:
    """An object that can be called."""

    def __call__(self):
        return "called"


def test_a_callable_object_has_the_name_of_its_class():
    assert function_name(Callable()) == "test_callables:Callable"


def test_a_call_can_be_loaded_and_made_any_number_of_times():
    loadable = call(dict, [("a", 1)], b=2).loadable()

    for _ in range(2):
        made = loadable.load(ThreadConnections())()
        assert made == {"a": 1, "b": 2}


def test_arguments_are_as_they_are_when_the_job_is_scheduled():
    words = ["one"]
    scheduled = call(shop.give, words)
    words.append("two")
    loadable = scheduled.loadable()

    assert loadable.load(ThreadConnections())() == ["one"]


def test_a_new_object_that_nothing_stores_is_refused_in_the_commit():
    products = [shop.Product("new")]
    scheduled = call(shop.give, products)
    with pytest.raises(ArgumentNotTransferable, match="Argument 1 of shop:"):
        scheduled.loadable()
    products.clear()
    with pytest.raises(ArgumentNotTransferable) as caught:
        scheduled.loadable()

    assert "The arguments of shop:give() cannot go to a job" in str(
        caught.value
    )
    assert "is new, and was not stored" in str(caught.value)


class Moody:
    """Something that cannot be pickled the first time."""

    refusals = 1

    def __reduce__(self):
        if Moody.refusals:
            Moody.refusals -= 1
            raise ValueError("not now")
        return (Moody, ())


def test_arguments_that_only_fail_together_are_refused_together():
    with pytest.raises(ArgumentNotTransferable) as caught:
        call(shop.give, Moody())

    assert "The arguments of shop:give() cannot go to a job" in str(
        caught.value
    )
    assert "(ValueError): not now" in str(caught.value)


def test_functions_that_tell_no_signature_are_not_checked():
    made = call(dict.fromkeys, "ab").loadable().load(ThreadConnections())()

    assert made == {"a": None, "b": None}


# -- What is refused ----------------------------------------------------------


def generate():
    """Prepare to yield."""
    yield 1


async def coroutine():
    """Prepare to sleep."""
    await asyncio.sleep(0)


async def generate_asynchronously():
    """Prepare to yield."""
    yield 1


class Coroutine:
    """Something with a call that only prepares."""

    async def __call__(self):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (None, "None is not callable"),
        ("shop.nothing", "'shop.nothing' is not callable"),
        (generate, "calling a generator function only prepares"),
        (functools.partial(generate), "calling a generator function"),
        (coroutine, "calling a coroutine function only prepares"),
        (Coroutine(), "calling a coroutine function only prepares"),
        (generate_asynchronously, "an asynchronous generator function"),
        (lambda: None, "a lambda or inner function"),
    ],
)
def test_what_cannot_be_a_job_is_refused(scheduler, function, reason):
    with pytest.raises(TypeError, match=reason) as caught:
        scheduler.schedule(function)
    assert repr(function) in str(caught.value)


def with_product(function, product):
    """Decorate as decorators do, and hold a product."""

    @functools.wraps(function)
    def inner():
        return product, function()

    return inner


def test_a_function_that_bears_the_name_of_another_is_refused(scheduler):
    function = with_product(shop.nothing, shop.Product("held"))
    with pytest.raises(TypeError, match="it is not what shop:nothing is"):
        scheduler.schedule(function)


def make_in_a_session(source, **names):
    """Make a function as an interactive session or a doctest does."""
    names["__name__"] = "__main__"
    exec(source, names)
    return names["f"]


@pytest.mark.parametrize(
    "source",
    [
        "def f(): return 7",
        "def f(number=7, *, text='a'): return number",
        "@transactional\ndef f(): return 7",
    ],
)
def test_a_function_of_a_session_can_be_a_job(scheduler, source):
    function = make_in_a_session(source, transactional=transactional)
    sid = scheduler.schedule(function)
    transaction.commit()
    assert scheduler.wait(sid, 60)

    assert scheduler.get_result(sid) == (7, None)


@pytest.mark.parametrize(
    "source",
    [
        "def f(product=product): pass",
        "def f(*, products=[product]): pass",
        "def f(products=(item for item in [product])): pass",
        "def f(): pass\nf = with_product(f, product)",
        "def f(): pass\nf = with_product(with_product(f, product), 1)",
    ],
)
@pytest.mark.parametrize("is_new", [True, False])
def test_a_function_of_a_session_that_holds_objects_is_refused(
    scheduler, connection, source, is_new
):
    product = shop.Product("held")
    if not is_new:
        connection.root()["product"] = product
        transaction.commit()
    function = make_in_a_session(
        source, product=product, with_product=with_product
    )
    with pytest.raises(TypeError, match="may hold objects of this thread"):
        scheduler.schedule(function)


@pytest.mark.parametrize(
    ("args", "named", "reason"),
    [
        ((), {}, "missing a required argument: 'value'"),
        ((1, 2), {}, "too many positional arguments"),
        ((1,), {"valeu": 2}, "unexpected keyword argument 'valeu'"),
    ],
)
def test_a_call_that_does_not_fit_is_refused(scheduler, args, named, reason):
    with pytest.raises(TypeError, match=reason) as caught:
        scheduler.schedule(shop.give, *args, **named)
    assert "shop:give(value)" in str(caught.value)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        ((1).__add__, "builtins:method-wrapper"),
        (functools.partial(int.__add__, 1), "builtins:wrapper_descriptor"),
    ],
)
def test_what_has_no_module_has_the_name_of_its_class(function, name):
    assert function_name(function) == name


def test_a_module_is_imported_to_its_end_before_a_function_of_it_is_called(
    tmp_path, monkeypatch
):
    """Two jobs of a module that nobody has imported begin together."""
    gate = types.ModuleType("gate_of_import")
    gate.came, gate.go = threading.Event(), threading.Event()
    monkeypatch.setitem(sys.modules, gate.__name__, gate)
    (tmp_path / "imported_late.py").write_text(
        "import gate_of_import\n"
        "def work():\n    return finish()\n"
        "gate_of_import.came.set()\n"
        "gate_of_import.go.wait(60)\n"
        "def finish():\n    return 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def run():
        return callable_of("imported_late:work")()

    with ThreadPoolExecutor() as threads:
        first = threads.submit(run)
        assert gate.came.wait(60)
        second = threads.submit(run)
        # one that does not wait for the import ends meanwhile
        wait([second], timeout=0.5)
        gate.go.set()

    monkeypatch.delitem(sys.modules, "imported_late")
    assert (first.result(), second.result()) == (1, 1)
