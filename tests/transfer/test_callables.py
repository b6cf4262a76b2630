"""What a job calls."""

import functools

import pytest
import shop

from pyramid_zodb_async.database.connections import ThreadConnections
from pyramid_zodb_async.exceptions import ArgumentNotTransferable
from pyramid_zodb_async.scheduler.in_memory.call import Call
from pyramid_zodb_async.transfer.callables import function_name


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


def test_arguments_are_as_they_are_when_the_commit_takes_them():
    words = ["one"]
    scheduled = call(shop.give, words)
    words.append("two")
    loadable = scheduled.loadable()
    words.append("three")

    assert loadable.load(ThreadConnections())() == ["one", "two"]


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
