"""What surrounds a job that runs: request, transaction, clean-up."""

from contextlib import AbstractContextManager

import pytest
import shop
import transaction
from pyramid.request import Request
from pyramid.threadlocal import get_current_registry, get_current_request
from pyramid.threadlocal import manager as threadlocals
from pyramid_tm import explicit_manager
from pyramid_zodbconn import get_connection
from ZODB.POSException import ConflictError

from pyramid_zodb_async import (
    JobError,
    current_job,
)
from pyramid_zodb_async.database.application import databases_of
from pyramid_zodb_async.execution.runner import Runner
from pyramid_zodb_async.execution.surroundings import bare_thread
from pyramid_zodb_async.scheduler.memory import MemoryScheduler
from pyramid_zodb_async.testing import drain, wait_for

pytestmark = pytest.mark.kept_in("memory", "zodb")


class OwnRequest(Request):
    """The application's own kind of request."""


def look_around():
    """Tell what surrounds the job."""
    request = get_current_request()
    return {
        "registry": request.registry is get_current_registry(),
        "kind": type(request).__name__,
        "extension": request.extension,
        "root": request.context["root of"],
        "user": request.authenticated_userid,
        "managed": request.environ["tm.active"],
        "connection": get_connection(request).transaction_manager
        is request.tm,
    }


def test_a_job_has_a_request_as_bootstrap_makes_it(run):
    def configure(config):
        config.set_request_factory(OwnRequest)
        config.add_request_method(
            lambda request: "here", "extension", property=True
        )

    view = run(look_around, root=lambda request: {"root of": request.path})

    assert view.failure.type == "AttributeError"  # there is no extension
    view = run(
        look_around,
        root=lambda request: {"root of": request.path},
        configure=configure,
    )
    assert view.result == {
        "registry": True,
        "kind": "OwnRequest",
        "extension": "here",
        "root": f"/jobs/{view.sid}",
        "user": None,
        "managed": True,
        "connection": True,
    }


class Marked(Request):
    """Requests that the application makes in its own way."""

    @classmethod
    def blank(cls, path, *args, **named_args):
        request = super().blank(path, *args, **named_args)
        request.headers["X-Mark"] = path
        return request


def tell_environ():
    """Tell what the request of the job is made of, and use it up."""
    request = get_current_request()
    body = request.environ["wsgi.input"].read().decode()
    request.environ["wsgi.input"].write(b"of this job alone")
    return {
        "url": request.url,
        "mark": request.headers.get("X-Mark"),
        "new": "used" not in request.environ and not body,
        "set": request.environ.setdefault("used", "by this job"),
    }


@pytest.mark.parametrize("kind", [Request, Marked])
def test_each_job_has_an_environ_of_its_own(make_app, engine, manager, kind):
    def start(request):
        return request.accepted(request.schedule(tell_environ))

    app = make_app(
        {"/start": start},
        configure=lambda config: config.set_request_factory(kind),
        **manager,
        **engine,
    )
    extra = {"HTTP_HOST": "shop.example:8080", "SCRIPT_NAME": "/mounted"}
    started = [
        app.get("/start", extra_environ=extra).json["sid"] for _ in range(2)
    ]
    drain(app)

    for sid in started:
        assert wait_for(app, sid).result == {
            "url": f"http://shop.example:8080/mounted/jobs/{sid}",
            "mark": f"/jobs/{sid}" if kind is Marked else None,
            "new": True,
            "set": "by this job",
        }


def test_a_root_factory_may_use_the_database(run):
    def root(request):
        return get_connection(request).root()

    assert run(shop.add, "word", root=root).result == 1
    assert shop.effects(run.app) == ["word"]


def set_context(request):
    """Make a root, and give the request another context."""
    request.context = "chosen by the root factory"
    return {}


def tell_context():
    """Tell the context of the job's request."""
    return get_current_request().context


def test_a_root_factory_may_choose_the_context(run):
    view = run(tell_context, root=set_context)

    assert view.result == "chosen by the root factory"


def test_a_root_factory_that_raises_fails_the_job_and_leaves_nothing(run):
    depth = []

    def root(request):
        get_connection(request)
        if "X-Kind" not in request.headers:
            depth.append(len(threadlocals.stack))
            raise ZeroDivisionError
        return {}

    view = run(shop.add, "word", root=root)

    assert view.failure.type == "ZeroDivisionError"
    db = databases_of(run.app.app.registry)[""]
    assert not any(info["opened"] for info in db.connectionDebugInfo())
    assert depth == [1]


def test_a_root_factory_that_conflicts_is_tried_again(run):
    tries = []

    def root(request):
        if "X-Kind" not in request.headers:
            tries.append(request)
            if len(tries) < 3:
                raise ConflictError
        return {}

    assert run(shop.give, 1, root=root).result == 1
    assert len(tries) == 3


def finish_badly(error):
    """Leave a callback that raises when all is done."""

    def callback(request):
        raise error

    shop.add("word")
    get_current_request().add_finished_callback(callback)
    return "done"


@pytest.mark.parametrize("error", [ZeroDivisionError(), ConflictError()])
def test_clean_up_that_raises_does_not_change_the_outcome(run, caplog, error):
    view = run(finish_badly, error)

    assert view.result == "done"
    assert shop.effects(run.app) == ["word"]
    assert "A finished callback of" in caplog.text


def add_callbacks_that_raise():
    """Fail in clearing up, again and again, and tell of what came between."""
    request = get_current_request()
    request.add_finished_callback(_exit)
    get_connection(request)
    for callback in (_raise, shop.attempts.append, _raise):
        request.add_finished_callback(callback)
    raise JobError("the job's own error")


def _exit(request):
    raise SystemExit


def _raise(request):
    raise ZeroDivisionError


def test_finished_callbacks_that_raise_keep_no_other_from_its_work(run):
    shop.attempts.clear()
    view = run(add_callbacks_that_raise)

    assert view.failure.message == "the job's own error"
    assert len(shop.attempts) == 1
    assert shop.count_open(databases_of(run.app.app.registry)[""]) == 0


class Grumbling(AbstractContextManager):
    """Surrounds a run with a bare thread, and fails to clear up."""

    def __init__(self, run):
        self._bare = bare_thread(run)

    def __enter__(self):
        return self._bare.__enter__()

    def __exit__(self, *error):
        self._bare.__exit__(*error)
        raise OSError("nothing to clear up with")


@pytest.mark.parametrize("function", [shop.give, shop.give_and_raise])
def test_clearing_up_that_fails_does_not_change_what_the_job_did(
    function, caplog
):
    scheduler = MemoryScheduler()
    quarrel = Runner(scheduler, Grumbling)
    with transaction.manager:
        sid = scheduler.schedule(function, "text")
    quarrel.run(sid)

    failed = function is shop.give_and_raise
    assert scheduler.get(sid).state == ("failed" if failed else "succeeded")
    assert [
        record.action for record in caplog.records if "lear" in record.action
    ] == ["job_not_cleared_up"]


def make_manager(request):
    """Choose a manager as an application may, by its request."""
    return explicit_manager(request) if request.wants_explicit else None


def test_the_managers_hook_may_use_request_methods(make_app, engine):
    def view(request):
        return request.accepted(request.schedule(shop.add, "word"))

    def configure(config):
        config.add_request_method(
            lambda request: True, "wants_explicit", property=True
        )

    app = make_app(
        {"/view": view},
        configure=configure,
        tm__manager_hook=make_manager,
        **engine,
    )
    sid = app.get("/view").json["sid"]

    assert wait_for(app, sid).result == 1


def tell_of_an_abort():
    """Fail, with a hook that tells of the abort."""
    hook = shop.attempts.append
    get_current_request().tm.get().addAfterAbortHook(hook, ("aborted",))
    raise ValueError


@pytest.mark.kept_in("memory")
def test_a_failed_job_without_a_database_aborts_its_transaction(
    make_app, manager, engine
):
    def view(request):
        return request.accepted(request.schedule(tell_of_an_abort))

    shop.attempts.clear()
    includes = ["pyramid_tm", "pyramid_zodb_async"]
    app = make_app({"/view": view}, includes=includes, **manager, **engine)
    app.get("/view")
    drain(app)

    assert shop.attempts == ["aborted"]


def commit_globally():
    """Commit as code does that knows of no request."""
    shop.add("word")
    is_managed = transaction.get() is get_current_request().tm.get()
    transaction.commit()
    shop.add("lost")
    if is_managed:
        raise ValueError


def test_code_of_a_job_may_use_the_global_manager_of_its_application(
    make_app, engine
):
    def view(request):
        return request.accepted(request.schedule(commit_globally))

    app = make_app({"/view": view}, **engine)
    app.get("/view")
    drain(app)

    assert shop.effects(app) == ["word"]


def owner_and_user():
    """Tell of the job."""
    return current_job().owner, get_current_request().tm.get().user


def test_the_transaction_of_a_job_notes_its_owner(make_app, engine):
    def view(request):
        return request.accepted(request.schedule(owner_and_user))

    def configure(config):
        config.set_security_policy(shop.HeaderPolicy())

    app = make_app({"/view": view}, configure=configure, **engine)
    sid = app.get("/view", headers={"X-User": "ann"}).json["sid"]

    assert wait_for(app, sid).result == ("ann", "ann")


def test_the_thread_of_a_job_is_left_clean(make_app):
    def view(request):
        return request.accepted(request.schedule(depth_of_threadlocals))

    app = make_app({"/view": view}, zodb_async__workers=1)
    sids = [app.get("/view").json["sid"] for _ in range(5)]

    assert {wait_for(app, sid).result for sid in sids} == {1}


def depth_of_threadlocals():
    """Tell how many requests the thread believes to be in."""
    return len(threadlocals.stack)
