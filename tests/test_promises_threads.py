"""Promise 8: a persistent object never crosses a thread."""

import functools
import threading

import pytest
import shop
import transaction
from persistent.mapping import PersistentMapping
from pyramid.request import Request
from pyramid.response import Response
from pyramid_zodbconn import get_connection

from pyramid_zodb_async import ArgumentNotTransferable
from pyramid_zodb_async.database.application import databases_of
from pyramid_zodb_async.testing import drain, wait_for

pytestmark = pytest.mark.kept_in("memory", "zodb")


@pytest.fixture
def run(make_app, manager, engine):
    """Run a job with arguments that a view makes; tell its document."""

    def run(function, prepare, **settings):
        def view(request):
            args, named = prepare(request)
            return request.accepted(request.schedule(function, *args, **named))

        app = make_app({"/view": view}, **manager, **engine, **settings)
        sid = app.get("/view").json["sid"]
        drain(app)
        run.app = app
        return app.get(f"/jobs/{sid}").json

    return run


@pytest.fixture
def refused(make_app, manager):
    """Schedule with what a view prepares; tell the refusal."""

    def refused(prepare, function=shop.give, **settings):
        def view(request):
            args, named = prepare(request)
            with pytest.raises(TypeError) as caught:
                request.schedule(function, *args, **named)
            errors.append(caught.value)
            return Response("refused")

        errors = []
        app = make_app({"/view": view}, **manager, **settings)
        app.get("/view")
        drain(app)
        return errors[0]

    return refused


def stored(request, name="product"):
    """Give a new product that the root refers to."""
    product = shop.root(request)[name] = shop.Product(name)
    return product


def is_of_this_thread(*products, **named):
    """Tell whether all are loaded by this thread's connection, and which."""
    connection = get_connection(shop.get_current_request())
    flat = [*products, *named.values()]
    assert all(product._p_jar is connection for product in flat)
    return [product.name for product in flat]


def test_arguments_are_loaded_by_the_connection_of_the_job(run):
    document = run(
        is_of_this_thread,
        lambda request: (
            (stored(request, "a"),),
            {"other": stored(request, "b")},
        ),
    )

    assert document["result"] == ["a", "b"]


def look_inside(value):
    """Find the products inside nested containers."""
    if isinstance(value, shop.Product):
        return is_of_this_thread(value)
    if isinstance(value, str):
        return []
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    return [name for part in value for name in look_inside(part)]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda product: [product],
        lambda product: (product, product),
        lambda product: {product},
        lambda product: frozenset([product]),
        lambda product: {"key": product},
        lambda product: {product: []},
        lambda product: [({"deep": [{"deeper": (product,)}]},)],
    ],
)
def test_arguments_are_found_at_any_depth(run, wrap):
    document = run(look_inside, lambda request: ((wrap(stored(request)),), {}))

    assert set(document["result"]) == {"product"}


def are_one(first, second):
    """Tell whether two arguments are one object."""
    return first is second[0]


def test_an_object_that_is_passed_twice_stays_one(run):
    def prepare(request):
        product = stored(request)
        return (product, [product]), {}

    assert run(are_one, prepare)["result"] is True


def test_a_method_of_a_persistent_object_is_called_on_the_jobs_own(run):
    def prepare(request):
        return (stored(request).rename, "renamed"), {}

    document = run(call, prepare)
    assert document["result"] == "renamed"
    assert is_renamed(run.app)


def call(function, *args):
    """Call a function that is an argument."""
    return function(*args)


def is_renamed(app):
    """Look at the product from outside."""
    db = databases_of(app.app.registry)[""]
    with db.transaction() as connection:
        return connection.root()["product"].name == "renamed"


def test_a_bound_method_can_be_the_job(make_app, manager, engine):
    def view(request):
        sid = request.schedule(stored(request).rename, "renamed")
        return request.accepted(sid)

    app = make_app({"/view": view}, **manager, **engine)
    app.get("/view")
    drain(app)

    assert is_renamed(app)


def test_a_partial_can_be_the_job(make_app, manager, engine):
    def view(request):
        function = functools.partial(is_of_this_thread, stored(request))
        return request.accepted(request.schedule(function))

    app = make_app({"/view": view}, **manager, **engine)
    sid = app.get("/view").json["sid"]
    drain(app)

    assert app.get(f"/jobs/{sid}").json["result"] == ["product"]


def test_objects_of_two_databases_come_from_the_right_ones(run, tmp_path):
    def prepare(request):
        other = get_connection(request, "other").root()
        other["product"] = there = shop.Product("there")
        other._p_jar.add(there)  # there could be either database's
        here = stored(request, "here")
        here_or_there = shop.root(request)._p_jar
        if here._p_jar is None:
            here_or_there.add(here)
        return (here, there), {}

    document = run(
        names, prepare, zodbconn__uri__other=f"file://{tmp_path}/Other.fs"
    )
    assert document["result"] == [["here", ""], ["there", "other"]]


def names(*products):
    """Tell the products and their databases."""
    return [
        [product.name, product._p_jar.db().database_name]
        for product in products
    ]


def make_product():
    """Return a new product, stored by the job."""
    product = shop.root()["made"] = shop.Product("made by the job")
    return {"products": [product]}


def test_objects_in_a_result_are_loaded_by_whoever_asks(make_app, manager):
    def start(request):
        return request.accepted(request.schedule(make_product))

    def read(request):
        (product,) = request.jobs.get(request.params["sid"]).result["products"]
        assert product._p_jar is get_connection(request)
        return Response(product.name)

    app = make_app({"/start": start, "/read": read}, **manager)
    sid = app.get("/start").json["sid"]
    drain(app)

    assert app.get("/read", {"sid": sid}).text == "made by the job"


def test_a_change_of_a_plain_argument_after_the_commit_changes_no_job(
    make_app, manager, gate
):
    words = ["as of the commit"]

    def view(request):
        request.schedule(shop.wait_at, "gate")
        return request.accepted(request.schedule(shop.give, words))

    app = make_app({"/view": view}, **manager, zodb_async__workers=1)
    sid = app.get("/view").json["sid"]
    words.append("too late")
    gate.open()

    assert wait_for(app, sid).result == ["as of the commit"]


@pytest.mark.kept_in("memory")
def test_a_new_object_that_nobody_stores_fails_the_commit(make_app, manager):
    def view(request):
        request.schedule(shop.give, {"deep": [shop.Product("orphan")]})
        return Response("done")

    app = make_app({"/view": view}, **manager)
    with pytest.raises(ArgumentNotTransferable) as caught:
        app.get("/view")
    assert "Argument 1 of shop:give() cannot go" in str(caught.value)
    assert "the shop.Product object is new" in str(caught.value)


def test_an_object_of_a_closed_connection_is_refused(refused):
    def prepare(request):
        db = get_connection(request).db()
        with db.transaction() as connection:
            connection.root()["product"] = product = shop.Product("stale")
        return (), {"value": [product]}

    error = refused(prepare)
    assert "Argument 'value' of shop:give()" in str(error)
    assert "a connection that is closed by now" in str(error)


def test_an_object_of_another_connection_is_refused(refused):
    other = []

    def prepare(request):
        connection = (
            get_connection(request).db().open(transaction.TransactionManager())
        )
        connection.root()["product"] = product = shop.Product("foreign")
        connection.transaction_manager.commit()
        other.append(connection)
        return (product,), {}

    error = refused(prepare)
    other[0].close()
    assert "belongs to another thread, request" in str(error)


def test_an_object_of_another_thread_is_refused(make_app, manager):
    """Also when its connection has been taken from the pool again."""
    kept, errors = [], []
    taken, done = threading.Event(), threading.Event()

    def keep(request):
        kept[:] = [stored(request)]
        return Response("kept")

    def take(request):
        if get_connection(request) is kept[0]._p_jar:
            taken.set()
            assert done.wait(60)
        return Response("taken")

    def use(request):
        with pytest.raises(ArgumentNotTransferable) as caught:
            request.schedule(shop.give, kept[0])
        errors.append(str(caught.value))
        return Response("refused")

    app = make_app({"/keep": keep, "/take": take, "/use": use}, **manager)
    for _ in range(100):
        app.get("/keep")
        other = threading.Thread(target=app.get, args=("/take",))
        other.start()
        # what looks after jobs may have taken the connection in its place
        while other.is_alive() and not taken.wait(0.01):
            pass
        if taken.is_set():
            break
    app.get("/use")
    done.set()
    other.join()

    assert "belongs to another thread" in errors[0]


def test_a_request_is_refused(refused):
    error = refused(lambda request: ((1, request), {}), function=max)

    assert "Argument 2 of builtins:max() cannot go" in str(error)
    assert "a request ends before the job begins" in str(error)


def test_a_request_within_an_argument_is_refused(refused):
    error = refused(lambda request: (([{"of": request}],), {}))

    assert "Argument 1 of shop:give() cannot go to a job" in str(error)
    assert "a request ends before the job begins; pass the" in str(error)


@pytest.mark.parametrize("size", [1, 1_000_000])
def test_an_uploaded_file_is_refused_whatever_its_size(refused, size):
    files = {"file": ("a.txt", b"a" * size)}
    field = Request.blank("/", POST=files).POST["file"]
    error = refused(lambda request: ((field,), {}))

    assert "Argument 1 of shop:give() cannot go to a job" in str(error)
    assert "pass its bytes, as .file.read() gives them" in str(error)


def test_a_connection_is_refused(refused):
    def prepare(request):
        return (get_connection(request),), {}

    assert "a connection belongs to its thread" in str(refused(prepare))


def test_what_cannot_be_pickled_is_refused_and_named(refused):
    error = refused(lambda request: (([threading.Lock()],), {}))

    assert "Argument 1 of shop:give() cannot go to a job" in str(error)
    assert "cannot pickle '_thread.lock' object" in str(error)


def test_a_callable_that_cannot_travel_is_refused(make_app, manager):
    def view(request):
        with pytest.raises(ArgumentNotTransferable) as caught:
            request.schedule(functools.partial(shop.give, threading.Lock()))
        return Response(str(caught.value))

    answer = make_app({"/view": view}, **manager).get("/view").text
    assert "cannot be a job: it cannot be pickled" in answer


@pytest.mark.kept_in("memory")
def test_a_persistent_argument_needs_zodbconn(make_app, db):
    def view(request):
        product = connection.root()["product"]
        with pytest.raises(ArgumentNotTransferable) as caught:
            request.schedule(shop.give, product)
        return Response(str(caught.value))

    connection = db.open()
    connection.root()["product"] = PersistentMapping()
    transaction.commit()
    app = make_app(
        {"/view": view}, includes=["pyramid_tm", "pyramid_zodb_async"]
    )
    answer = app.get("/view").text
    connection.close()

    assert "include pyramid_zodbconn and set zodbconn.uri" in answer


@pytest.mark.kept_in("memory")
def test_plain_arguments_need_no_zodbconn(make_app, engine):
    def view(request):
        return request.accepted(request.schedule(shop.give, {"plain": [1]}))

    app = make_app(
        {"/view": view},
        includes=["pyramid_tm", "pyramid_zodb_async"],
        **engine,
    )
    sid = app.get("/view").json["sid"]
    drain(app)

    assert app.get(f"/jobs/{sid}").json["result"] == {"plain": [1]}


def pack(app):
    """Let deleted objects vanish from the database and from all caches."""
    db = databases_of(app.app.registry)[""]
    db.pack()
    db.cacheMinimize()


@pytest.mark.kept_in("memory")
def test_a_deleted_argument_fails_the_job_and_says_so(make_app, manager, gate):
    def start(request):
        request.schedule(shop.wait_at, "gate")
        return request.accepted(request.schedule(shop.give, stored(request)))

    def delete(request):
        del shop.root(request)["product"]
        return Response("deleted")

    app = make_app(
        {"/start": start, "/delete": delete}, **manager, zodb_async__workers=1
    )
    sid = app.get("/start").json["sid"]
    gate.wait_for_job()
    app.get("/delete")
    pack(app)
    gate.open()
    view = wait_for(app, sid)

    assert view.failure.type == "JobNotLoadable"
    assert "was deleted from the database" in view.failure.message


@pytest.mark.kept_in("memory")
def test_a_deleted_result_is_told_as_such(make_app, manager):
    def start(request):
        return request.accepted(request.schedule(make_product))

    def delete(request):
        del shop.root(request)["made"]
        return Response("deleted")

    app = make_app({"/start": start, "/delete": delete}, **manager)
    sid = app.get("/start").json["sid"]
    drain(app)
    app.get("/delete")
    pack(app)
    document = app.get(f"/jobs/{sid}").json

    assert "result" not in document
    assert document["error"]["type"] == "JobNotLoadable"
    assert "was deleted" in document["error"]["detail"]
