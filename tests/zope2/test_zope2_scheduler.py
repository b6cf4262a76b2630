"""Jobs in Zope get its objects in context, whoever keeps the jobs."""

import functools
import inspect
import time

import pytest
import shelves
import transaction
from AccessControl.SecurityManagement import (
    newSecurityManager,
    noSecurityManager,
)
from Acquisition import aq_base, aq_chain, aq_inner, aq_parent
from OFS.Uninstalled import broken_klasses
from persistent.wref import WeakRef
from Testing.makerequest import makerequest
from ZODB.Connection import resetCaches
from ZODB.POSException import ConflictError

from pyramid_zodb_async import ArgumentNotTransferable, JobNotLoadable
from pyramid_zodb_async.zope2 import (
    PersistentContext,
    TransactionalScheduler,
)
from pyramid_zodb_async.zope2.acquisition import packed

IN_THE_SITE = ("/site/hall/shelf", "green")


@pytest.fixture(autouse=True)
def _nothing_seen():
    shelves.seen.clear()


@pytest.fixture
def run(scheduler, site):
    """Give a function that has a job run, and gives its outcome."""

    def run(function, *args, **kw):
        sid = scheduler.schedule(function, *args, **kw)
        transaction.commit()
        assert scheduler.wait(sid, 60)
        transaction.begin()
        PersistentContext().set_root_connection(site._p_jar)
        return scheduler.get_result(sid)

    return run


@pytest.fixture
def value(run):
    """Give a function that has a job run, and gives what it returned."""

    def value(function, *args, **kw):
        value, error = run(function, *args, **kw)
        assert error is None
        return value

    return value


# arguments and results


def test_an_object_is_in_its_context(value, shelf):
    assert value(shelves.tell_path, shelf) == IN_THE_SITE
    assert value(shelves.tell_path, shelf=shelf) == IN_THE_SITE


def test_objects_deep_inside_are_in_their_context(value, shelf):
    note = shelf._p_jar.root()["note"] = shelves.Note()
    note.text = "hello"
    shelves_of_both = [shelf]
    nested = {"shelves": shelves_of_both, "same": shelves_of_both}
    outcome = value(shelves.tell_paths, {**nested, "note": note})

    assert outcome == (IN_THE_SITE, True, "hello")


def test_a_context_that_is_not_where_the_object_is_kept_is_the_same(
    value, app, site, shelf
):
    site._setObject("other", shelves.Shelf("other"))
    transaction.savepoint()
    visited = aq_base(shelf).__of__(site.hall.__of__(site.other))
    chain = [part.getId() for part in aq_chain(visited)]

    assert value(shelves.tell_chain, visited) == chain


def test_the_request_is_left_behind(value, shelf, app):
    with_request = makerequest(app).site.hall.shelf
    chain = value(shelves.tell_chain, with_request)

    assert chain == ["shelf", "hall", "site", "Zope"]


def test_what_only_the_request_wraps_comes_bare(value, app):
    assert value(shelves.tell_chain, makerequest(app)) == ["Zope"]


def test_a_container_that_is_not_persistent_is_left_out(value, site):
    view = shelves.InContext().__of__(site)
    shelf = aq_base(site.hall.shelf).__of__(view)
    chain = value(shelves.tell_chain, shelf)

    assert chain == ["shelf", "site", "Zope"]


def test_an_object_without_a_context_has_none(value, shelf):
    assert value(shelves.tell_chain, aq_base(shelf)) == ["shelf"]


def test_a_method_has_its_object_in_context(value, shelf):
    assert value(shelf.tell) == "0 green"
    assert value(functools.partial(shelf.put, number=3)) == "3 green"


def test_a_method_without_a_context_works_too(value, site, shelf):
    assert value(aq_base(shelf).getId) == "shelf"


def test_a_new_object_is_in_its_context(value, site):
    site._setObject("new", shelves.Shelf("new"))

    assert value(shelves.tell_path, site.new) == ("/site/new", "green")


def test_a_context_of_ones_own_works_too(value, shelf):
    assert value(tell_path_of, PersistentContext(shelf)) == IN_THE_SITE


def tell_path_of(context):
    return shelves.tell_path(context[0])


def test_a_result_is_in_its_context(value, shelf):
    (found,) = value(shelves.give, shelf)

    assert found == shelf
    assert found._p_jar is shelf._p_jar
    assert shelves.tell_path(found) == IN_THE_SITE


def test_a_result_without_a_context_has_none(value, shelf):
    assert aq_parent(value(shelves.give_base, shelf)) is None


def test_a_packed_method_looks_like_it(shelf):
    method = packed(shelf.put)

    assert method is not shelf.put
    assert method.__qualname__ == "Shelf.put"
    assert inspect.signature(method) == inspect.signature(shelf.put)


def test_what_has_no_wrapper_stays_what_it_is(shelf):
    for value in ([1, aq_base(shelf)], [WeakRef(aq_base(shelf))], [print]):
        assert packed(value) is value


# users


def test_a_job_is_owned_by_who_scheduled_it_but_nobody_is_logged_in(
    value, bob
):
    assert value(shelves.tell_user) == (None, "site bob")


def test_a_user_of_no_folder_owns_jobs_too(value, bob):
    newSecurityManager(None, aq_base(bob))
    assert value(shelves.tell_user) == (None, "/ bob")


def test_a_job_that_nobody_scheduled_is_nobodys(value, site, shelf):
    noSecurityManager()
    assert value(shelves.tell_user) == (None, None)
    value(shelves.put, shelf, 1)

    assert last_change_of(shelf)["user_name"] == b""


def test_the_change_of_a_job_tells_who_scheduled_it(value, bob, shelf):
    assert value(shelves.put, shelf, 2) == "2 green"

    assert last_change_of(shelf)["user_name"] == b"site bob"


def test_the_change_of_a_persistent_job_tells_which_it_was(site, bob, shelf):
    sid = site.scheduler.schedule(shelves.put, shelf, 2)
    transaction.commit()
    assert site.scheduler.wait(sid, 60)

    told = last_change_of(shelf)["description"].decode()
    assert told == f"job {sid}, attempt 1: shelves:put"


def test_the_change_of_a_job_in_memory_tells_the_function(site, bob, shelf):
    scheduler = TransactionalScheduler()
    sid = scheduler.schedule(shelves.put, shelf, 2)
    transaction.commit()
    assert scheduler.wait(sid, 60)
    scheduler.engine.stop()

    assert last_change_of(shelf)["description"] == b"put"


def last_change_of(obj):
    (change,) = obj._p_jar.db().storage.history(obj._p_oid)
    return change


def test_who_logs_in_in_a_job_is_recorded_and_logged_out(
    scheduler, value, shelf, site
):
    noSecurityManager()
    value(shelves.log_in, site)
    for _ in range(4):  # every thread has its turn
        assert value(shelves.tell_thread) == (None, None)

    if isinstance(scheduler, TransactionalScheduler):
        assert last_change_of(shelf)["user_name"] == b"site bob"


# transactions


def test_an_abort_leaves_no_job(scheduler, shelf):
    sid = scheduler.schedule(shelves.put, shelf, 1)
    transaction.abort()

    assert scheduler.get_result(sid) is None


def test_an_outcome_is_there_until_a_commit_takes_it_away(scheduler, shelf):
    sid = scheduler.schedule(shelves.put, shelf, 1)
    assert scheduler.get_result(sid) is False
    transaction.commit()
    assert scheduler.wait(sid, 60)
    transaction.begin()
    for end in (transaction.abort, transaction.commit):
        assert scheduler.get_result(sid) == ("1 green", None)
        end()

    assert scheduler.get_result(sid) is None


def test_a_job_that_fails_leaves_no_effects(run, shelf):
    value, error = run(shelves.put_and_fail, shelf)

    assert value is None
    assert type(error) is ZeroDivisionError
    assert shelf.books == 0


def test_a_conflict_has_a_job_repeated(value, shelf):
    value(shelves.conflict_once, shelf)

    assert shelves.seen == ["called", "called"]
    assert shelf.books == 1


def test_a_persistent_job_meets_as_many_conflicts_as_a_request_may(site):
    sid = site.scheduler.schedule(shelves.conflict)
    transaction.commit()
    assert site.scheduler.wait(sid, 60)
    transaction.begin()

    value, error = site.scheduler.get_result(sid)
    assert value is None
    assert type(error) is ConflictError
    assert shelves.seen == ["conflict"] * 4


def test_a_request_schedules_and_another_fetches(browser, shelf):
    sid = browser.get("/site/hall/shelf/schedule_put?number=5").text
    deadline = time.monotonic() + 60
    look = f"/site/hall/shelf/look_up?sid={sid}"
    while (outcome := browser.get(look).text) == "False":
        assert time.monotonic() < deadline
        time.sleep(0.02)  # paces the loop; the condition decides
    transaction.begin()

    assert outcome == "('5 green', None)"
    assert browser.get(look).text == "None"
    assert shelf.books == 5
    assert last_change_of(shelf)["user_name"] == b"site bob"


# what is refused


@pytest.mark.parametrize(
    ("function", "reason"),
    [(shelves.count_slowly, "generator"), (lambda _: 1, "lambda")],
)
def test_what_cannot_be_a_job_is_refused(scheduler, shelf, function, reason):
    with pytest.raises(TypeError, match=reason):
        scheduler.schedule(function, shelf)


def test_a_method_that_takes_other_arguments_is_refused(scheduler, shelf):
    with pytest.raises(TypeError, match=r"Shelf\.put"):
        scheduler.schedule(shelf.put, 1, 2, 3)


def test_what_is_not_persistent_is_refused_in_its_wrapper(scheduler, shelf):
    view = shelves.InContext().__of__(shelf)
    with pytest.raises(ArgumentNotTransferable, match="Argument 1"):
        scheduler.schedule(shelves.tell_chain, view)


def test_a_request_is_refused(scheduler, shelf, app):
    request = makerequest(app).REQUEST
    with pytest.raises(ArgumentNotTransferable, match="Argument 2"):
        scheduler.schedule(print, shelf, request)


def test_an_object_of_another_thread_is_refused_by_its_name(scheduler, shelf):
    transaction.commit()
    connection = shelf._p_jar.db().open(transaction.TransactionManager())
    foreign = connection.get(shelf._p_oid).__of__(
        connection.root()["Application"]
    )
    with pytest.raises(ArgumentNotTransferable, match=r"shelves\.Shelf"):
        scheduler.schedule(shelves.tell_path, foreign)
    connection.transaction_manager.abort()
    connection.close()


def test_options_of_a_method_hold_for_its_jobs(scheduler, shelf):
    sid = scheduler.schedule(shelf.put_with_title, 1)

    assert scheduler.get(sid).options.title == "Putting"
    assert scheduler.get(sid).function == "shelves:Shelf.put_with_title"


# many calls


def test_the_objects_of_many_calls_are_in_their_context(scheduler, shelf, bob):
    calls = [(shelf,), ((), {"shelf": shelf})]
    sids = scheduler.many(shelves.tell_path, calls, spread=0.1)
    assert scheduler.get(sids[0]).owner == "site bob"
    transaction.commit()
    assert scheduler.wait(timeout=60)
    transaction.begin()

    assert [scheduler.get_result(sid) for sid in sids] == [
        (IN_THE_SITE, None)
    ] * 2


def test_a_method_in_context_is_called_many_times(scheduler, shelf):
    sids = scheduler.many(shelf.put_with_title, [(0,)] * 3)
    assert {scheduler.get(sid).title for sid in sids} == {"Putting"}
    transaction.commit()
    assert scheduler.wait(timeout=60)
    transaction.begin()

    assert [scheduler.get_result(sid) for sid in sids] == [
        ("0 green", None)
    ] * 3


def test_what_no_job_can_get_is_refused_with_the_index_of_its_call(
    scheduler, shelf, app
):
    request = makerequest(app).REQUEST
    for call, error in [
        ((shelf, request), ArgumentNotTransferable),
        ((shelf, 1, 2, 3), TypeError),
        (shelf, TypeError),
    ]:
        with pytest.raises(error, match=r"^call 1"):
            scheduler.many(shelves.put, [(shelf, 1), call])
    with pytest.raises(TypeError, match="lambda"):
        scheduler.many(lambda _: 1, [])
    transaction.commit()

    assert scheduler.wait(timeout=0)


# what is gone when the job runs


def test_a_conflict_while_arguments_are_looked_at_is_one(scheduler):
    with pytest.raises(ConflictError):
        scheduler.schedule(print, Conflicting())


class Conflicting:
    def __reduce__(self):
        raise ConflictError


@pytest.fixture
def run_later(site):
    """Give a function that has a job run after something has happened."""

    def run_later(happen, function, *args):
        site.scheduler.stop(grace=5)
        sid = site.scheduler.schedule(function, *args)
        transaction.commit()
        happen()
        resetCaches()  # as a new process does
        site.scheduler.start()
        assert site.scheduler.wait(sid, 60)
        transaction.begin()
        return site.scheduler.get_result(sid)[1]

    return run_later


def test_a_method_that_is_gone_fails_the_job_whatever_is_acquired(
    site, shelf, run_later, monkeypatch
):
    site._setObject("tell", shelves.Shelf("tell"))
    forget = functools.partial(monkeypatch.delattr, shelves.Shelf, "tell")
    error = run_later(forget, shelf.tell)

    assert type(error) is JobNotLoadable
    assert "shelves.Shelf object has no method 'tell'" in str(error)


@pytest.mark.parametrize("take", [aq_base, aq_inner], ids=["bare", "wrapped"])
def test_an_object_whose_class_is_gone_fails_the_job(
    site, run_later, monkeypatch, take
):
    site.hall._setObject("old", shelves.OldShelf("old"))
    transaction.commit()
    forget = functools.partial(monkeypatch.delattr, shelves, "OldShelf")
    error = run_later(forget, print, take(site.hall.old))

    assert type(error) is JobNotLoadable
    assert "gone: shelves:OldShelf" in str(error)
    del broken_klasses["shelves", "OldShelf"]
    resetCaches()


def test_other_jobs_run_when_some_class_is_gone(value, shelf, monkeypatch):
    monkeypatch.setitem(broken_klasses, ("gone", "Gone"), object)

    assert value(shelves.tell_path, shelf) == IN_THE_SITE
