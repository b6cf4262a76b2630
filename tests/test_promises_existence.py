"""Promise 1: a job exists if and only if its transaction commits."""

import time

import pytest
import shop
import transaction
from pyramid.httpexceptions import HTTPFound, HTTPNotFound
from pyramid.response import Response
from pyramid_zodbconn import get_connection
from shop import INCLUDES as WITH_RETRY
from shop import WITHOUT_RETRY
from ZODB.POSException import ConflictError

from pyramid_zodb_async import TransactionRequired
from pyramid_zodb_async.settings import DEFAULT_STORE
from pyramid_zodb_async.testing import drain

pytestmark = pytest.mark.kept_in("memory", "zodb")


@pytest.fixture(params=["no veto", "veto"])
def veto(request):
    """Settings for the commit veto."""
    if request.param == "veto":
        return {"tm.commit_veto": "pyramid_tm.default_commit_veto"}
    return {}


@pytest.fixture(params=[WITH_RETRY, WITHOUT_RETRY], ids=["retry", "no retry"])
def includes(request):
    """Give the packages that the application includes."""
    return request.param


@pytest.fixture
def visit(make_app, manager, veto, engine, includes):
    """Visit a view of a new application; tell what its jobs left."""

    def visit(view, status=200, exception_view=None, **settings):
        def configure(config):
            if exception_view:
                config.add_exception_view(exception_view)

        settings = manager | veto | engine | settings
        app = make_app(
            {"/view": view},
            includes=includes,
            configure=configure,
            **settings,
        )
        if isinstance(status, type):
            with pytest.raises(status):
                app.get("/view")
        else:
            app.get("/view", status=status)
        drain(app)
        app.effects = shop.effects(app)
        return app

    return visit


def test_a_committed_request_makes_its_job(visit):
    def view(request):
        request.schedule(shop.add, "job")
        return Response("done")

    assert visit(view).effects == ["job"]


@pytest.mark.kept_in("memory")
def test_a_request_that_writes_nothing_makes_its_job(visit):
    def view(request):
        request.schedule(shop.add, "job")
        assert not hasattr(request, "_primary_zodb_conn")
        return Response("done")

    assert visit(view).effects == ["job"]


def test_a_returned_error_response_makes_a_job_unless_it_is_vetoed(
    visit, veto
):
    def view(request):
        request.schedule(shop.add, "job")
        return Response("nothing here", status=404)

    assert visit(view, 404).effects == ([] if veto else ["job"])


def test_a_doomed_request_makes_no_job(visit):
    def view(request):
        request.schedule(shop.add, "job")
        request.tm.doom()
        return Response("done")

    assert visit(view).effects == []


def test_a_failing_view_makes_no_job(visit):
    def view(request):
        request.schedule(shop.add, "job")
        raise ZeroDivisionError

    assert visit(view, ZeroDivisionError).effects == []


def test_a_raised_redirect_makes_a_job_only_with_a_veto_to_decide(visit, veto):
    def view(request):
        request.schedule(shop.add, "job")
        raise HTTPFound("/elsewhere")

    assert visit(view, 302).effects == (["job"] if veto else [])


def test_a_raised_error_makes_no_job(visit):
    def view(request):
        request.schedule(shop.add, "job")
        raise HTTPNotFound

    assert visit(view, 404).effects == []


def test_an_exception_view_decides_as_the_veto_does(visit, veto):
    def view(request):
        request.schedule(shop.add, "job")
        raise ZeroDivisionError

    def handle(error, request):
        return Response("handled")

    app = visit(view, 200, exception_view=handle)
    assert app.effects == (["job"] if veto else [])


def test_an_exception_view_can_make_a_job(visit, veto):
    def view(request):
        raise ZeroDivisionError

    def handle(error, request):
        request.schedule(shop.add, "job of the exception view")
        return Response("handled")

    app = visit(view, 200, exception_view=handle)
    assert app.effects == (["job of the exception view"] if veto else [])


def test_a_conflict_in_the_view_makes_one_job_of_the_last_attempt(
    visit, includes
):
    tries = []

    def view(request):
        tries.append(request.schedule(shop.add, f"try {len(tries)}"))
        if len(tries) == 1:
            raise ConflictError
        return Response("done")

    if includes is WITH_RETRY:
        assert visit(view).effects == ["try 1"]
    else:
        assert visit(view, ConflictError).effects == []


def test_a_conflict_in_the_commit_makes_one_job_of_the_last_attempt(
    visit, includes
):
    tries = []

    def view(request):
        shop.root(request)["counter"] = len(tries)
        tries.append(request.schedule(shop.add, f"try {len(tries)}"))
        if len(tries) == 1:
            other = transaction.TransactionManager(explicit=True)
            connection = get_connection(request).db().open(other)
            with other:
                connection.root()["counter"] = "somebody else's"
            connection.close()
        return Response("done")

    if includes is WITH_RETRY:
        assert visit(view).effects == ["try 1"]
    else:
        assert visit(view, ConflictError).effects == []


def test_a_commit_that_cannot_store_makes_no_job(visit):
    def view(request):
        request.schedule(shop.add, "job")
        shop.root(request)["bad"] = lambda: None
        return Response("done")

    assert visit(view, Exception).effects == []


def test_a_failing_before_commit_hook_makes_no_job(visit):
    def hook():
        raise ZeroDivisionError

    def view(request):
        request.schedule(shop.add, "job")
        request.tm.get().addBeforeCommitHook(hook)
        return Response("done")

    assert visit(view, ZeroDivisionError).effects == []


def test_a_before_commit_hook_that_aborts_makes_no_job(visit):
    def view(request):
        request.schedule(shop.add, "job")
        request.tm.get().addBeforeCommitHook(request.tm.abort)
        return Response("done")

    assert visit(view).effects == []


def test_a_failing_after_commit_hook_of_others_loses_no_job(visit):
    def hook(committed):
        raise KeyboardInterrupt

    def view(request):
        request.tm.get().addAfterCommitHook(hook)
        request.schedule(shop.add, "job")
        request.tm.get().addAfterCommitHook(hook)
        return Response("done")

    assert visit(view).effects == ["job"]


def test_a_hook_after_the_commit_cannot_schedule(visit):
    refusals = []

    def hook(committed, request):
        with pytest.raises(TransactionRequired) as caught:
            request.schedule(shop.add, "late")
        refusals.append(caught.value)

    def view(request):
        request.schedule(shop.add, "job")
        request.tm.get().addAfterCommitHook(hook, (request,))
        return Response("done")

    assert visit(view).effects == ["job"]
    assert len(refusals) == 1


def test_an_abort_by_the_view_makes_no_job(visit, manager):
    def view(request):
        request.schedule(shop.add, "job")
        request.tm.abort()
        request.tm.begin()
        return Response("done")

    assert visit(view).effects == []


def test_what_is_scheduled_after_an_abort_by_the_view_is_made(visit):
    def view(request):
        request.schedule(shop.add, "before")
        request.tm.abort()
        request.tm.begin()
        request.schedule(shop.add, "after")
        return Response("done")

    assert visit(view).effects == ["after"]


def test_a_rolled_back_savepoint_takes_its_jobs_with_it(visit):
    def view(request):
        request.schedule(shop.add, "kept")
        savepoint = request.tm.savepoint()
        request.schedule(shop.add, "rolled back")
        savepoint.rollback()
        return Response("done")

    assert visit(view).effects == ["kept"]


def test_a_savepoint_from_before_the_first_job_takes_all(visit):
    def view(request):
        savepoint = request.tm.savepoint()
        request.schedule(shop.add, "rolled back")
        savepoint.rollback()
        return Response("done")

    assert visit(view).effects == []


def test_a_job_scheduled_after_a_rollback_is_made(visit):
    def view(request):
        outer = request.tm.savepoint()
        request.schedule(shop.add, "first")
        inner = request.tm.savepoint()
        request.schedule(shop.add, "second")
        inner.rollback()
        outer.rollback()
        request.schedule(shop.add, "third")
        outer.rollback()
        request.schedule(shop.add, "fourth")
        return Response("done")

    assert visit(view).effects == ["fourth"]


@pytest.mark.kept_in("zodb")
def test_a_job_after_the_removal_of_the_store_is_in_a_new_one(visit):
    def view(request):
        root = shop.root(request)
        for word in ("one", "two", "three"):
            root.pop(DEFAULT_STORE, None)
            request.schedule(shop.add, word)
        return Response("done")

    assert visit(view).effects == ["three"]


def test_a_rollback_leaves_no_job_after_an_earlier_one_was_removed(
    visit, kept_in
):
    def view(request):
        request.schedule(shop.add, "kept")
        removed = request.schedule(shop.add, "removed")
        savepoint = request.tm.savepoint()
        request.jobs.remove(removed)
        request.schedule(shop.add, "rolled back")
        savepoint.rollback()
        return Response("done")

    effects = sorted(visit(view).effects)
    # a removal from the database is rolled back as well
    assert effects == (["kept"] + ["removed"] * (kept_in == "zodb"))


def test_a_kept_savepoint_keeps_its_jobs(visit):
    def view(request):
        request.schedule(shop.add, "job")
        request.tm.savepoint()
        return Response("done")

    assert visit(view).effects == ["job"]


def test_many_jobs_of_a_transaction_are_all_made(visit):
    words = [f"job {number}" for number in range(20)]

    def view(request):
        for word in words:
            request.schedule(shop.add, word)
        return Response("done")

    assert sorted(visit(view).effects) == sorted(words)


def test_an_inactive_transaction_manager_is_refused(visit, includes):
    def view(request):
        return Response(str(request.schedule(shop.add, "job")))

    app = visit(
        view,
        TransactionRequired,
        **{"tm.activate_hook": "test_promises_existence.never"},
    )
    assert app.effects == []


def never(request):
    """Keep pyramid_tm away from every request."""
    return False


def test_a_transaction_that_ends_without_its_hooks_loses_no_job(
    make_app, manager
):
    class Broken:
        def beforeCompletion(self, txn):
            pass

        def afterCompletion(self, txn):
            request.tm.unregisterSynch(self)
            raise ZeroDivisionError

        def newTransaction(self, txn):
            pass

    kept = []

    def view(current):
        nonlocal request
        request = current
        kept.append(Broken())
        request.tm.registerSynch(kept[0])
        sids.append(request.schedule(shop.add, "job"))
        return Response("done")

    request, sids = None, []
    app = make_app({"/view": view}, **manager)
    with pytest.raises(ZeroDivisionError):
        app.get("/view")
    transaction.abort()

    assert shop.effects(app) == []
    deadline = time.monotonic() + 10
    while not app.get(f"/jobs/{sids[0]}").json["done"]:  # who asks sees to it
        assert time.monotonic() < deadline
    assert shop.effects(app) == ["job"]
