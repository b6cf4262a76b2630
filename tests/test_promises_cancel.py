"""Promise 6: a cancelled job leaves no effects, up to its commit."""

import threading

import pytest
import shop
import transaction
from transaction.interfaces import TransientError

from pyramid_zodb_async import IScheduler, JobCancelled, JobState, current_job
from pyramid_zodb_async.testing import drain, wait_for

pytestmark = pytest.mark.kept_in("memory", "zodb")

REPETITIONS = 200


def start(request):
    function = globals().get(request.params["function"]) or getattr(
        shop, request.params["function"]
    )
    arguments = request.params.getall("argument")
    return request.accepted(request.schedule(function, *arguments))


@pytest.fixture
def app(make_app):
    return make_app({"/start": start})


def begin(app, function, *arguments):
    params = [("function", function)]
    params += [("argument", argument) for argument in arguments]
    return app.post("/start", params).json["sid"]


#: What the threads of a race wait for.
together = []


def add_together(word):
    """Leave an effect, and end when the test cancels."""
    shop.add(word)
    together[0].wait(60)


def test_a_job_that_ends_while_it_is_cancelled_does_one_or_the_other(app):
    cancelled = set()
    for number in range(REPETITIONS):
        word = str(number)
        together[:] = [threading.Barrier(2)]
        sid = begin(app, "add_together", word)
        together[0].wait(60)
        answer = app.delete(f"/jobs/{sid}", status="*")
        # the job had ended, it was cancelled, or it ended meanwhile
        assert answer.status_code in {202, 204, 409}
        if answer.status_code == 202:
            cancelled.add(word)
            assert answer.json["state"] == "cancelled"
        if answer.status_code == 409:
            assert answer.json["state"] == "succeeded"
    drain(app)
    effects = shop.effects(app)

    assert len(effects) == len(set(effects))
    assert set(effects) == set(map(str, range(REPETITIONS))) - cancelled


def check_at(gate):
    """Ask whether to go on, when the test says so."""
    shop.add("half done")
    shop.wait_at(gate)
    current_job().check()
    shop.gates["went on"] = True


@pytest.mark.parametrize("function", ["check_at", "add_and_wait_at"])
def test_a_cancelled_run_leaves_nothing_whether_it_asks_or_not(
    app, gate, function
):
    sid = begin(app, function, "gate")
    gate.wait_for_job()
    app.delete(f"/jobs/{sid}", status=202)
    gate.open()
    drain(app)

    assert "went on" not in shop.gates
    assert shop.effects(app) == []
    view = wait_for(app, sid)
    assert view.state is JobState.CANCELLED
    assert view.attempt == 1
    assert view.failure is None
    assert view.result is None


def commit_midway(gate):
    """Give up what is promised for what comes before the wait."""
    shop.add("first")
    shop.root()._p_jar.transaction_manager.commit()
    shop.wait_at(gate)
    shop.root()._p_jar.transaction_manager.begin()
    shop.add("second")


def test_a_job_that_commits_midway_leaves_only_what_it_committed(app, gate):
    sid = begin(app, "commit_midway", "gate")
    gate.wait_for_job()
    app.delete(f"/jobs/{sid}", status=202)
    gate.open()
    drain(app)

    assert shop.effects(app) == ["first"]
    assert wait_for(app, sid).state is JobState.CANCELLED


def fail_at(gate):
    shop.wait_at(gate)
    raise ValueError("too late to matter")


def test_a_failure_after_the_cancel_changes_nothing(app, gate):
    sid = begin(app, "fail_at", "gate")
    gate.wait_for_job()
    app.delete(f"/jobs/{sid}", status=202)
    gate.open()
    drain(app)

    assert app.get(f"/jobs/{sid}").json["state"] == "cancelled"


def test_the_outcome_of_a_cancelled_job_is_an_exception(app, gate):
    sid = begin(app, "wait_at", "gate")
    scheduler = app.app.registry.getUtility(IScheduler)
    with transaction.manager:
        assert scheduler.cancel(sid)
    with transaction.manager:
        assert scheduler.completed(sid) is True
        value, error = scheduler.get_result(sid)

    assert value is None
    assert isinstance(error, JobCancelled)
    with transaction.manager:
        assert scheduler.get(sid) is None
        assert not scheduler.cancel(sid)
        assert not scheduler.retry(sid)


@pytest.mark.kept_in("zodb")
def test_a_cancel_is_undone_with_its_transaction(app, gate):
    sid = begin(app, "add_and_wait_at", "gate")
    gate.wait_for_job()
    scheduler = app.app.registry.getUtility(IScheduler)
    transaction.begin()
    assert scheduler.cancel(sid)
    assert scheduler.get(sid).state is JobState.CANCELLED
    transaction.abort()
    gate.open()
    drain(app)

    assert shop.effects(app) == ["half done"]


@pytest.mark.kept_in("zodb")
def test_a_retry_is_undone_with_its_transaction(app):
    sid = begin(app, "explain")
    drain(app)
    scheduler = app.app.registry.getUtility(IScheduler)
    transaction.begin()
    assert scheduler.retry(sid)
    transaction.abort()
    drain(app)

    assert wait_for(app, sid).attempt == 1


#: What a job that has cancelled itself was told.
said = []


def cancel_oneself(way):
    """Cancel the running job, and go on as if nothing were."""
    shop.add("half done")
    request, sid = shop.get_current_request(), current_job().sid
    jobs = request.jobs
    if way == "by the scheduler":
        jobs = request.registry.getUtility(IScheduler)
    said[:] = jobs.cancel(sid), jobs.cancel(sid)
    if way == "and raise":
        raise LookupError("after the cancel")


@pytest.mark.parametrize(
    "way", ["by the scheduler", "by the request", "and raise"]
)
def test_a_job_that_cancels_itself_is_cancelled_and_leaves_nothing(app, way):
    sid = begin(app, "cancel_oneself", way)
    drain(app)

    assert said == [True, False]
    assert shop.effects(app) == []
    view = wait_for(app, sid)
    assert view.state is JobState.CANCELLED
    assert view.attempt == 1
    assert view.failure is None


def remove_oneself():
    shop.add("half done")
    jobs = shop.get_current_request().jobs
    for _ in range(2):  # in the database it is still seen the second time
        jobs.remove(current_job().sid)


def test_a_job_that_removes_itself_leaves_nothing_at_all(app):
    sid = begin(app, "remove_oneself")
    drain(app)

    assert shop.effects(app) == []
    assert app.get(f"/jobs/{sid}", status=404)


@pytest.mark.kept_in("memory")
def test_a_cancel_during_the_commit_waits_for_its_end(app, gate):
    """The commit fails after its vote, so the job can be cancelled yet."""
    sid = begin(app, "vote_and_fail", "gate")
    gate.wait_for_job()
    answer = shop.Answer(app.delete, f"/jobs/{sid}", status="*")
    answer.join(0.2)
    assert not answer.has_come
    gate.open()

    assert answer.get().status_code == 202
    drain(app)
    assert shop.effects(app) == []


@pytest.mark.kept_in("memory")
def test_a_cancel_during_a_commit_that_does_not_end_is_refused(
    app, gate, monkeypatch
):
    monkeypatch.setattr(
        "pyramid_zodb_async.scheduler.in_memory.table.COMMIT_TIME", 0.05
    )
    sid = begin(app, "vote_and_fail", "gate")
    gate.wait_for_job()
    answer = app.delete(f"/jobs/{sid}", status=409)

    assert answer.json["state"] == "running"


class Late:
    """A participant that votes after the scheduler, waits, and refuses."""

    transaction_manager = None

    def __init__(self, gate):
        self.gate = gate

    def sortKey(self):
        return chr(0x10FFFF) * 2

    def tpc_vote(self, txn):
        self.gate.pass_through()
        raise TransientError

    def tpc_begin(self, txn):
        pass

    commit = abort = tpc_finish = tpc_abort = tpc_begin


def vote_and_fail(gate):
    shop.add("half done")
    if not shop.gates[gate].opened.is_set():
        shop.root()._p_jar.transaction_manager.get().join(
            Late(shop.gates[gate])
        )
