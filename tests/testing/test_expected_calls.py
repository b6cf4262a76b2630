"""What was scheduled is compared with what a test expects."""

from functools import partial

import pytest
import shop
import transaction
from pyramid.response import Response

from pyramid_zodb_async.database.application import databases_of
from pyramid_zodb_async.testing import (
    assert_scheduled,
    run_next,
    scheduled,
)

pytestmark = pytest.mark.kept_in("memory", "zodb")


@pytest.fixture
def shop_app(make_app):
    """Give an application with a view that schedules as it is told."""

    def make(schedule, **settings):
        def view(request):
            root = shop.root(request)
            return Response(schedule(request, root) or "")

        def fill(request):
            root = shop.root(request)
            root["tea"], root["milk"] = shop.Product("tea"), shop.Product("m")
            return Response()

        settings.setdefault("zodb_async__engine", "manual")
        app = make_app({"/view": view, "/fill": fill}, **settings)
        app.get("/fill")
        app.get("/view")
        return app

    return make


@pytest.fixture
def load():
    """Load an object from an application's database, as a test would."""
    opened = []

    def load(app, name):
        connection = databases_of(app.app.registry)[""].open()
        opened.append(connection)
        return connection.root()[name]

    yield load
    transaction.abort()
    for connection in opened:
        connection.close()


def test_what_was_scheduled_is_listed_in_its_order(shop_app):
    def schedule(request, root):
        request.schedule(shop.add, "a")
        request.schedule(shop.give, 1)
        request.schedule(shop.nothing)

    app = shop_app(schedule)

    assert [job.function for job in scheduled(app)] == [
        "shop:add",
        "shop:give",
        "shop:nothing",
    ]
    run_next(app)
    assert len(scheduled(app)) == 2


def test_the_jobs_of_a_bulk_are_found_one_by_one(shop_app, load):
    def schedule(request, root):
        names = ["tea", "milk"]
        calls = ((root[name], "sold out") for name in names)
        request.schedule.many(label, calls, spread=3600)

    app = shop_app(schedule)
    first, second = scheduled(app)

    tea, milk = load(app, "tea"), load(app, "milk")
    assert assert_scheduled(app, label, tea, "sold out").sid == first.sid
    assert assert_scheduled(app, label, milk, "sold out").sid == second.sid
    assert first.due is None
    assert second.due is not None
    with pytest.raises(AssertionError, match="These wait:") as caught:
        assert_scheduled(app, label, milk, "in stock")
    assert str(caught.value).count("'sold out'") == 2
    assert run_next(app).result == ["tea", "sold out", 1]
    assert run_next(app, second.sid, early=True).result[0] == "m"


def label(product, text, *, copies=1):
    return [product.name, text, copies]


def test_a_call_is_the_same_however_its_arguments_are_passed(shop_app, load):
    def schedule(request, root):
        return request.schedule(label, root["tea"], text="fine", copies=1)

    app = shop_app(schedule)
    tea = load(app, "tea")
    sid = assert_scheduled(app, label, tea, "fine").sid

    assert assert_scheduled(app, label, text="fine", product=tea).sid == sid
    assert app.get("/view").text != sid
    assert assert_scheduled(app, label, tea, "fine").sid == sid


@pytest.mark.parametrize(
    "nest",
    [
        lambda product: [product],
        lambda product: {"product": (product, 1)},
        lambda product: ({product}, frozenset([product])),
        lambda product: shop.Product,
    ],
)
def test_persistent_objects_are_the_same_at_any_depth(shop_app, load, nest):
    def schedule(request, root):
        request.schedule(shop.give, nest(root["tea"]))

    app = shop_app(schedule)

    assert assert_scheduled(app, shop.give, nest(load(app, "tea")))


def test_what_does_not_wait_is_told_with_what_does(shop_app, load):
    def schedule(request, root):
        request.schedule(label, root["tea"], "fine", copies=2)
        request.schedule(root["milk"].rename, "cream")
        request.schedule(int, "2", base=7)

    app = shop_app(schedule)
    with pytest.raises(AssertionError) as caught:
        assert_scheduled(app, label, load(app, "milk"), "fine", copies=2)
    tea, milk = (
        f"<shop.Product object, oid {int.from_bytes(oid, 'big'):#x}>"
        for oid in (load(app, "tea")._p_oid, load(app, "milk")._p_oid)
    )

    module = label.__module__
    assert str(caught.value).splitlines() == [
        f"No job waits that calls {module}:label({milk}, 'fine', copies=2).",
        "These wait:",
        f"  {module}:label({tea}, 'fine', copies=2)",
        f"  {milk}.rename('cream')",
        "  builtins:int('2', base=7)",
    ]
    assert assert_scheduled(app, load(app, "milk").rename, "cream")
    assert assert_scheduled(app, int, "2", base=7)


def test_a_partial_function_is_the_same_with_the_same_arguments(
    shop_app, load
):
    def schedule(request, root):
        request.schedule(partial(label, root["tea"], copies=3), "fine")

    app = shop_app(schedule)
    tea = load(app, "tea")

    assert assert_scheduled(app, partial(label, tea, copies=3), "fine")
    with pytest.raises(AssertionError):
        assert_scheduled(app, partial(label, tea, copies=4), "fine")


def test_a_test_that_asserts_the_impossible_is_told_so(shop_app, load):
    app = shop_app(lambda request, root: None)
    with pytest.raises(TypeError, match=r"label.* is no call.*missing"):
        assert_scheduled(app, label, load(app, "tea"))
    with pytest.raises(ValueError, match=r"shop\.Product object is new"):
        assert_scheduled(app, shop.give, shop.Product("new"))
    with pytest.raises(AssertionError, match="None waits at all") as caught:
        assert_scheduled(app, shop.nothing)

    assert "manual" not in str(caught.value)


def test_with_another_engine_it_is_told_that_jobs_may_have_run(shop_app):
    def schedule(request, root):
        request.schedule(shop.nothing)

    app = shop_app(schedule, zodb_async__engine="inline")
    with pytest.raises(AssertionError, match=r"may have run already.*manual"):
        assert_scheduled(app, shop.nothing)
