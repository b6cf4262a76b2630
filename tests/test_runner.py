"""How a job is run, and what surrounds it."""

import logging

import pytest
import shop
import transaction
from pyramid.request import Request
from pyramid.threadlocal import get_current_registry, get_current_request
from pyramid.threadlocal import manager as threadlocals
from pyramid_zodbconn import get_connection
from ZODB.POSException import ConflictError

from pyramid_zodb_async import current_job, transactional
from pyramid_zodb_async.testing import drain, wait_for


@pytest.fixture
def run(make_app, manager, engine):
    """Run a job to its end; tell what is known of it."""

    def run(function, *args, root=None, configure=None, **settings):
        def view(request):
            return request.accepted(request.schedule(function, *args))

        app = make_app(
            {"/view": view},
            root=root,
            configure=configure,
            **manager,
            **engine,
            **settings,
        )
        run.app = app
        # the root factories of these tests are not made for requests
        sid = app.get("/view", headers={"X-Kind": "visit"}).json["sid"]
        drain(app)
        return wait_for(app, sid)

    return run


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


def test_a_root_factory_may_use_the_database(run):
    def root(request):
        return get_connection(request).root()

    assert run(shop.add, "word", root=root).result == 1
    assert shop.effects(run.app) == ["word"]


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
    db = run.app.app.registry._zodb_databases[""]
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
    assert "had ended already when its run raised" in caplog.text


def tell_of_an_abort():
    """Fail, with a hook that tells of the abort."""
    hook = shop.attempts.append
    get_current_request().tm.get().addAfterAbortHook(hook, ("aborted",))
    raise ValueError


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


@transactional
def conflict_transactionally():
    """Leave an effect, and conflict the first time."""
    shop.add("word")
    shop.attempts.append(None)
    if len(shop.attempts) == 1:
        raise ConflictError


def test_a_conflict_in_a_transactional_function_repeats_the_whole_job(run):
    shop.attempts.clear()
    run(conflict_transactionally)

    assert shop.effects(run.app) == ["word"]


def commit_and_conflict():
    """Meet a conflict when there is no transaction to ask."""
    shop.add("word")
    get_current_request().tm.commit()
    if len(shop.effects_here()) < 3:
        raise ConflictError
    return "done"


def test_a_conflict_after_a_commit_of_ones_own_repeats_the_job(run):
    assert run(commit_and_conflict).result == "done"
    assert shop.effects(run.app) == ["word"] * 3


def lose_the_transaction_and_fail():
    """Fail when there is no transaction to ask."""
    get_current_request().tm.abort()
    raise ValueError


def test_an_error_after_an_abort_of_ones_own_fails_the_job(run):
    assert run(lose_the_transaction_and_fail).failure.type == "ValueError"


def test_the_log_tells_of_success_failure_and_repetition(run, caplog):
    caplog.set_level(logging.INFO, "pyramid_zodb_async")
    shop.attempts.clear()
    sid = run(shop.conflict, 1).sid
    failed = run(shop.fail, "secret").sid
    told = [
        (record.action, record.sid, record.levelname)
        for record in caplog.records
        if hasattr(record, "action")
    ]

    assert told == [
        ("job_repeated", sid, "INFO"),
        ("job_succeeded", sid, "INFO"),
        ("job_failed", failed, "ERROR"),
    ]
    assert caplog.records[-1].exc_info[0] is ValueError
    assert all(
        record.sid in record.getMessage()
        for record in caplog.records
        if hasattr(record, "sid")
    )


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
