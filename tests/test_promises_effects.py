"""Promise 3: effects, result and completion are one commit."""

import threading

import pytest
import shop
import transaction
from pyramid.threadlocal import get_current_request

from pyramid_zodb_async import IScheduler, JobState, current_job
from pyramid_zodb_async.database.application import databases_of
from pyramid_zodb_async.testing import drain, wait_for

pytestmark = pytest.mark.kept_in("memory", "zodb")


@pytest.fixture
def run(make_app, manager, engine):
    """Run a job to its end; tell what is known of it."""

    def run(function, *args, **settings):
        def view(request):
            return request.accepted(request.schedule(function, *args))

        app = make_app({"/view": view}, **manager, **engine, **settings)
        sid = app.get("/view").json["sid"]
        drain(app)
        run.effects = shop.effects(app)
        run.log = databases_of(app.app.registry)[""].undoLog(0, 20)
        return wait_for(app, sid)

    return run


def test_a_job_that_returns_leaves_its_effects_and_its_result(run):
    view = run(shop.add, "one", "two")

    assert view.state is JobState.SUCCEEDED
    assert view.result == 2
    assert run.effects == ["one", "two"]


def test_a_job_that_raises_leaves_no_effects(run):
    view = run(shop.fail)

    assert view.state is JobState.FAILED
    assert view.failure.type == "ValueError"
    assert run.effects == []


def doom():
    """Doom the transaction."""
    shop.add("doomed")
    get_current_request().tm.doom()


def test_a_job_that_dooms_its_transaction_fails_without_effects(run):
    view = run(doom)

    assert view.state is JobState.FAILED
    assert view.failure.type == "DoomedTransaction"
    assert run.effects == []


def abort_before_the_commit():
    """Have the transaction aborted by a hook that its commit calls."""
    shop.add("aborted")
    request = get_current_request()
    request.tm.get().addBeforeCommitHook(request.tm.abort)


def test_a_job_whose_hook_aborts_its_transaction_fails_without_effects(run):
    view = run(abort_before_the_commit)

    assert view.state is JobState.FAILED
    assert view.failure.type == "TransactionRequired"
    assert run.effects == []


def save_before_the_commit():
    """Have a hook store all that has changed, and forget what is loaded."""
    shop.add("saved")
    request = get_current_request()

    def hook():
        request.tm.savepoint()
        shop.root()._p_jar.cacheMinimize()

    request.tm.get().addBeforeCommitHook(hook)


def test_a_job_whose_hook_makes_a_savepoint_succeeds(run):
    view = run(save_before_the_commit)

    assert view.state is JobState.SUCCEEDED
    assert run.effects == ["saved"]


def store_badly():
    """Store what cannot be stored."""
    shop.add("half done")
    shop.root()["bad"] = lambda: None


def test_a_job_whose_commit_fails_leaves_no_effects(run):
    view = run(store_badly)

    assert view.state is JobState.FAILED
    assert run.effects == []


def give_a_lock():
    """Return what cannot leave the thread."""
    shop.add("half done")
    return [threading.Lock()]


def test_a_result_that_cannot_be_kept_fails_the_job_without_effects(run):
    view = run(give_a_lock)

    assert view.failure.type == "ResultNotTransferable"
    assert "give_a_lock() cannot be kept" in view.failure.message
    assert run.effects == []


def give_an_orphan():
    """Return a new persistent object that nobody stores."""
    shop.add("half done")
    return {"found": shop.Product("orphan")}


@pytest.mark.kept_in("memory")
def test_a_result_that_nobody_stored_fails_the_job_without_effects(run):
    view = run(give_an_orphan)

    assert "the shop.Product object is new" in view.failure.message
    assert run.effects == []


def test_a_conflict_repeats_the_job_and_its_effects_happen_once(run):
    shop.attempts.clear()
    view = run(shop.conflict, 2)

    assert view.state is JobState.SUCCEEDED
    assert view.result == 3
    assert run.effects == ["conflicting"]


def test_a_repetition_does_not_count_as_an_attempt(run):
    shop.attempts.clear()
    view = run(shop.conflict, 2)

    assert shop.attempts == [1, 1, 1]
    assert view.attempt == 1


def test_a_job_that_conflicts_too_often_fails(run):
    shop.attempts.clear()
    view = run(shop.conflict, 9, zodb_async__max_conflicts=3)

    assert view.failure.type == "ConflictError"
    assert len(shop.attempts) == 4
    assert run.effects == []


def count_up():
    """Change what another transaction changes at the same time."""
    root = shop.root()
    root["counter"] = root.get("counter", 0) + 1
    if len(shop.attempts) < 2:
        shop.attempts.append(None)
        disturb(root._p_jar.db())


def disturb(db):
    """Count up in a transaction of its own."""
    manager = transaction.TransactionManager(explicit=True)
    connection = db.open(manager)
    with manager:
        root = connection.root()
        root["counter"] = root.get("counter", 0) + 1
    connection.close()


def read_counter():
    """Tell where the counter is."""
    return shop.root()["counter"]


def test_a_conflict_in_the_commit_repeats_the_job_with_fresh_data(
    make_app, manager, engine
):
    shop.attempts.clear()

    def count(request):
        return request.accepted(request.schedule(count_up))

    def read(request):
        return request.accepted(request.schedule(read_counter))

    app = make_app({"/count": count, "/read": read}, **manager, **engine)
    app.get("/count")
    drain(app)
    sid = app.get("/read").json["sid"]
    drain(app)

    assert app.get(f"/jobs/{sid}").json["result"] == 3


def commit_midway():
    """Commit by hand, leave an effect after it, and fail."""
    shop.add("committed")
    get_current_request().tm.commit()
    get_current_request().tm.begin()
    shop.add("lost")
    raise ValueError


def test_what_a_job_commits_by_itself_stays(run):
    view = run(commit_midway)

    assert view.state is JobState.FAILED
    assert run.effects == ["committed"]


def commit_at_the_end():
    """Commit by hand, and leave no transaction behind."""
    shop.add("committed")
    get_current_request().tm.commit()
    return "done"


def test_a_job_that_ends_its_transaction_succeeds(run):
    view = run(commit_at_the_end)

    assert view.result == "done"
    assert run.effects == ["committed"]


def abort_at_the_end():
    """Abort by hand, and leave no transaction behind."""
    shop.add("aborted")
    get_current_request().tm.abort()
    return "done"


def test_a_job_that_aborts_its_transaction_succeeds_without_effects(run):
    view = run(abort_at_the_end)

    assert view.result == "done"
    assert run.effects == []


def test_a_transactional_function_joins_the_transaction_of_its_job(run):
    view = run(shop.add_and_fail, "half done")

    assert view.state is JobState.FAILED
    assert run.effects == []


def test_a_transactional_job_commits_with_its_result(run):
    view = run(shop.add_transactionally, "word")

    assert view.result == 1
    assert run.effects == ["word"]


def remove_itself():
    """Have this job forgotten while it runs."""
    shop.add("half done")
    registry = get_current_request().registry
    scheduler, sid = registry.getUtility(IScheduler), current_job().sid
    shop.in_thread(lambda: scheduler.remove(sid))


def test_a_job_that_is_removed_while_it_runs_leaves_no_effects(
    make_app, manager, engine
):
    def view(request):
        return request.accepted(request.schedule(remove_itself))

    app = make_app({"/view": view}, **manager, **engine)
    sid = app.get("/view").json["sid"]
    drain(app)

    assert shop.effects(app) == []
    app.get(f"/jobs/{sid}", status=404)


def test_the_outcome_does_not_show_before_the_effects(make_app, manager):
    """Whoever sees the outcome sees the effects."""

    def start(request):
        return request.accepted(request.schedule(shop.add, "word"))

    app = make_app({"/start": start}, **manager)
    for number in range(1, 21):
        wait_for(app, app.get("/start").json["sid"])
        assert len(shop.effects(app)) == number


def test_the_history_of_an_object_tells_the_job_that_changed_it(run):
    view = run(shop.add, "word")
    note = f"job {view.sid}, attempt 1: shop:add"

    assert note in [record["description"] for record in run.log]
