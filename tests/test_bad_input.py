"""Every mistake gets an error that names it and says what to do."""

import asyncio
import functools
import sys
import threading

import pytest
import shop
import transaction
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from pyramid.response import Response

from pyramid_zodb_async import TransactionRequired, transactional
from pyramid_zodb_async.testing import drain, wait_for


def generate():
    """Prepare to yield."""
    yield 1


async def coroutine():
    """Prepare to sleep."""
    await asyncio.sleep(0)


async def generate_asynchronously():
    """Prepare to yield."""
    yield 1


class Callable:
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
        (Callable(), "calling a coroutine function only prepares"),
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


def test_scheduling_needs_pyramid_tm(make_app):
    def view(request):
        with pytest.raises(TransactionRequired) as caught:
            request.schedule(shop.nothing)
        return Response(str(caught.value))

    app = make_app({"/view": view}, includes=["pyramid_zodb_async"])
    assert "config.include('pyramid_tm')" in app.get("/view").text


@pytest.fixture
def script_request(make_app, manager):
    """Give the request of a script, made by Pyramid's `prepare`."""
    from pyramid.request import Request
    from pyramid.scripting import prepare

    app = make_app(**manager, zodb_async__engine="inline")
    request = Request.blank("/")
    with prepare(request=request, registry=app.app.registry):
        request.test_app = app
        yield request


def test_scheduling_outside_a_transaction_is_refused(script_request):
    with pytest.raises(TransactionRequired, match=r"with request\.tm:"):
        script_request.schedule(shop.nothing)


def test_a_script_schedules_inside_a_transaction(script_request):
    with script_request.tm:
        sid = script_request.schedule(shop.add, "by a script")

    assert wait_for(script_request, sid).result == 1
    assert shop.effects(script_request.test_app) == ["by a script"]


def test_scheduling_after_an_abort_needs_a_new_explicit_transaction(make_app):
    def view(request):
        request.tm.abort()
        with pytest.raises(TransactionRequired, match="was ended before"):
            request.schedule(shop.add, "never")
        request.tm.begin()
        request.schedule(shop.add, "job")
        return Response("done")

    explicit = {"tm.manager_hook": "pyramid_tm.explicit_manager"}
    app = make_app({"/view": view}, **explicit)
    app.get("/view")
    drain(app)

    assert shop.effects(app) == ["job"]


def test_scheduling_after_an_abort_works_with_an_implicit_one(make_app):
    def view(request):
        request.tm.abort()
        request.schedule(shop.add, "job")
        return Response("done")

    app = make_app({"/view": view})
    app.get("/view")
    drain(app)

    assert shop.effects(app) == ["job"]


def test_scheduling_in_an_after_commit_hook_is_refused(make_app, manager):
    errors = []

    def view(request):
        def hook(committed):
            with pytest.raises(TransactionRequired) as caught:
                request.schedule(shop.add, "too late")
            errors.append(str(caught.value))

        request.tm.get().addAfterCommitHook(hook)
        return Response("done")

    app = make_app({"/view": view}, **manager)
    app.get("/view")
    drain(app)

    assert len(errors) == 1
    assert shop.effects(app) == []


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("scheduler", "redis", "one of 'zodb', 'memory'"),
        ("autostart", "perhaps", "true or false"),
        ("attempts", "0", "a whole number of 1 or more"),
        ("lease", "0", "a number of seconds, 0.1 or more"),
        ("engine", " ", "the name of an engine"),
        ("time_limit", "0", "a number of seconds, more than 0"),
        ("stop_on_sigterm", "maybe", "true or false"),
        ("workers", "0", "a whole number of 1 or more"),
        ("workers", "two", "a whole number of 1 or more"),
        ("max_pending", None, "a whole number of 1 or more"),
        ("max_conflicts", "-1", "a whole number of 0 or more"),
        ("result_timeout", "soon", "a number of seconds, 0 or more"),
        ("result_timeout", "nan", "a number of seconds, 0 or more"),
        ("grace", "-1", "a number of seconds, 0 or more"),
        ("permission", " ", "the name of a permission"),
        ("public_errors", "no.such.Error", "dotted names of exceptions"),
        ("public_errors", "os.path", "dotted names of exceptions"),
        ("route_prefix", "/", "a path without patterns"),
        ("route_prefix", "{x}", "a path without patterns"),
    ],
)
def test_a_wrong_setting_is_quoted_with_what_is_allowed(name, value, allowed):
    name = f"zodb_async.{name}"
    config = Configurator(settings={name: value})
    with pytest.raises(ConfigurationError) as caught:
        config.include("pyramid_zodb_async")

    assert f"The setting '{name}' takes {allowed}" in str(caught.value)
    assert repr(value) in str(caught.value)


def test_an_unknown_setting_is_refused_with_the_one_meant():
    config = Configurator(settings={"zodb_async.worker": "2"})
    with pytest.raises(ConfigurationError) as caught:
        config.include("pyramid_zodb_async")
    assert "did you mean 'zodb_async.workers'?" in str(caught.value)


def test_a_setting_like_no_other_is_refused_with_all_there_are():
    config = Configurator(settings={"zodb_async.xyzzy": "2"})
    with pytest.raises(ConfigurationError, match=r"zodb_async\.max_pending"):
        config.include("pyramid_zodb_async")


@pytest.mark.parametrize(
    "sid",
    [
        "unknown",
        "a" * 22,
        "a" * 5000,
        "..",
        "%00",
        "%E2%82%AC",
        "%20",
        "a;b",
        "'\"",
    ],
)
def test_a_sid_that_is_none_answers_404(make_app, sid):
    answer = make_app().get(f"/jobs/{sid}", status=404)

    assert answer.content_type == "application/problem+json"
    assert answer.json == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": (
            "There is no such job, or it has expired, or it is not yours."
        ),
    }


class Unprintable(Exception):
    """An exception that cannot even be shown."""

    def __str__(self):
        raise SystemExit("no text")


class Unpicklable(Exception):
    """An exception that holds what cannot leave its thread."""

    def __init__(self):
        super().__init__(threading.Lock())


class Unloadable(Exception):
    """An exception that can be pickled, but not loaded."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def raise_unprintable():
    raise Unprintable


def raise_unpicklable():
    raise Unpicklable


def raise_unloadable():
    raise Unloadable(1, 2)


def leave():
    sys.exit(3)


def interrupt():
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("function", "kind", "message"),
    [
        (raise_unprintable, "Unprintable", "the text of this Unprintable"),
        (raise_unpicklable, "Unpicklable", "_thread.lock"),
        (raise_unloadable, "Unloadable", "1 and 2"),
        (leave, "SystemExit", "The job called sys.exit(3)"),
        (interrupt, "KeyboardInterrupt", ""),
    ],
)
def test_whatever_a_job_raises_fails_it(
    make_app, manager, engine, function, kind, message
):
    def view(request):
        return request.accepted(request.schedule(function))

    app = make_app({"/view": view}, **manager, **engine)
    sid = app.get("/view").json["sid"]
    view = wait_for(app, sid)

    assert view.failure.type == kind
    assert message in view.failure.message
    assert app.get(f"/jobs/{sid}").json["error"] == {
        "type": kind,
        "title": "The job failed",
    }


@pytest.mark.parametrize(
    "function", [raise_unprintable, raise_unpicklable, raise_unloadable]
)
def test_an_exception_that_cannot_travel_has_a_stand_in(scheduler, function):
    sid = scheduler.schedule(function)
    transaction.commit()
    assert scheduler.wait(sid, 60)
    value, error = scheduler.get_result(sid)

    assert value is None
    assert function.__name__.removeprefix("raise_") in str(error).lower()


def test_the_worker_survives_a_job_that_exits(make_app):
    def leave_view(request):
        return request.accepted(request.schedule(leave))

    def add_view(request):
        return request.accepted(request.schedule(shop.add, "after"))

    app = make_app(
        {"/leave": leave_view, "/add": add_view}, zodb_async__workers=1
    )
    app.get("/leave")
    app.get("/add")
    drain(app)

    assert shop.effects(app) == ["after"]
